"""The names of targets, for pages that show what belongs to one: the API tells them apart by their ids."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TypeVar

from apviso.protocol.targets import Target
from apviso.server.dashboard.visitors import Visitor

# A choice with more of them is none; and a page does not wait for thousands.
MOST_TARGETS = 500
MOST_RUNNERS = 100
T = TypeVar("T")


async def first(found: AsyncIterator[T], most: int) -> list[T]:
    """The first of a list that goes on page by page; no page is asked for beyond them."""
    taken: list[T] = []
    async for one in found:
        taken.append(one)
        if len(taken) >= most:
            break
    return taken


async def list_targets(visitor: Visitor) -> list[Target]:
    """Newest first."""
    return await first(visitor.api.targets.all(), MOST_TARGETS)


def names_of(targets: list[Target]) -> dict[str, str]:
    return {target.id: target.domain for target in targets}
