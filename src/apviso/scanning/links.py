"""The links of a page, as far as the looks need them: to name what the rules kept the scan from. It is no crawler and runs no script."""

from __future__ import annotations

import re
from collections.abc import Iterable
from html import unescape
from itertools import islice
from urllib.parse import urldefrag, urljoin, urlsplit

from apviso.scanning.guard_paths import spellings

MAX_LINKS = 2_000
# Bounded by the next bracket, so that no page, however hostile, takes long to read.
_LINK = re.compile(
    r"""<(?:a|area|form|iframe|frame)\b[^<>]*?[\s"'/](?:href|action|src)\s*=\s*(?:"([^"<>]*)"|'([^'<>]*)'|([^\s"'<>]+))""", re.IGNORECASE
)


def links_of(page: bytes, url: str) -> tuple[str, ...]:
    """Where a page links to, as addresses without their fragments, each once and in their order."""
    written = (unescape("".join(found.groups(""))) for found in islice(_LINK.finditer(page.decode(errors="replace")), MAX_LINKS))
    return tuple(dict.fromkeys(address for link in written if link and (address := _absolute(link, url)) is not None))


def _absolute(link: str, url: str) -> str | None:
    try:
        address = urldefrag(urljoin(url, link.strip())).url
    except ValueError:
        return None
    return address if urlsplit(address).scheme in ("http", "https") else None


def is_excluded(url: str, patterns: Iterable[str]) -> bool:
    """The guard's rule: a pattern is found in path or query, however they are spelled. What cannot be judged is excluded."""
    parts = urlsplit(url)
    try:
        readings = spellings((parts.path or "/") + (f"?{parts.query}" if parts.query else ""))
    except ValueError:
        return True
    return any(re.search(pattern, text, re.IGNORECASE) for pattern in patterns for text in readings)
