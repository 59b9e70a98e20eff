"""What each client that is awaited does alike, however it sends: several calls in turn, and lists page by page."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncIterator
from typing import Any, TypeVar

from apviso.client.calls import Call
from apviso.client.endpoints import Awaited, Steps
from apviso.client.following import Following
from apviso.client.listing import Answer, Item, Listing
from apviso.client.resources import Resources

T = TypeVar("T")


class Awaiting(Resources[Awaited]):
    """Hands the calls of its resources to its own `perform`."""

    def __init__(self) -> None:
        super().__init__(self)

    @abstractmethod
    async def perform(self, call: Call[T]) -> T:
        """Send one call and read its answer. Raises what the answer stands for."""

    @abstractmethod
    def follow(self, following: Following) -> AsyncIterator[dict[str, Any]]:
        """Events as they come."""

    async def take(self, steps: Steps[T]) -> T:
        """Perform each call of `steps` in its turn."""
        answer: Any = None
        while True:
            try:
                call = steps.send(answer)
            except StopIteration as end:
                result: T = end.value
                return result
            answer = await self.perform(call)

    async def each(self, listing: Listing[Answer, Item]) -> AsyncIterator[Item]:
        call: Call[Answer] | None = listing.first
        while call is not None:
            answer = await self.perform(call)
            for item in listing.items(answer):
                yield item
            call = listing.after(answer)
