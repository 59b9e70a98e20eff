"""Looks for the text that a target shows to nobody but a visitor who is logged in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import unescape

from apviso.runner.target_visit import visit


@dataclass(frozen=True)
class Marker:
    """`url` is an address of the target, or a path on it."""

    url: str
    text: str


async def is_logged_in(
    marker: Marker, target_url: str, headers: Mapping[str, str], exclude_paths: Sequence[str], addresses: Sequence[str]
) -> bool:
    """Whether the marker shows with these headers. Raises NoAnswer, or OffTarget where its address is not the target's."""
    async with visit(target_url, addresses, exclude_paths, headers) as made:
        page = await made.get(marker.url)
    return page.onward is None and page.status < 400 and (marker.text in page.text or marker.text in unescape(page.text))
