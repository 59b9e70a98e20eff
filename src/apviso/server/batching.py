"""Asks once for what many want: whoever comes while an answer is on its way is asked for together with the others."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Generic, TypeVar

Key = TypeVar("Key")
Found = TypeVar("Found")


class Batched(Generic[Key, Found]):
    """`load` finds many at once; a key that it does not find has no answer. A failure is everybody's who was asked for with it."""

    def __init__(self, load: Callable[[list[Key]], Awaitable[Mapping[Key, Found]]], most: int) -> None:
        self._load = load
        self._most = most
        self._wanted: dict[Key, asyncio.Future[Found | None]] = {}
        self._turn = asyncio.Lock()

    async def find(self, key: Key) -> Found | None:
        wanted = self._wanted.get(key)
        if wanted is None:
            wanted = self._wanted[key] = asyncio.get_running_loop().create_future()
        async with self._turn:
            # Whoever had the turn before has asked for all that were there then, up to the most.
            while not wanted.done():
                await self._ask()
        return wanted.result()

    async def _ask(self) -> None:
        keys = list(self._wanted)[: self._most]
        wanted = {key: self._wanted.pop(key) for key in keys}
        try:
            found = await self._load(keys)
        except BaseException as error:
            for future in wanted.values():
                # Whoever is cancelled is cancelled alone: the others have no answer, and go another way.
                _fail(future, error)
            raise
        for key, future in wanted.items():
            future.set_result(found.get(key))


def _fail(future: asyncio.Future[Found | None], error: BaseException) -> None:
    if isinstance(error, Exception):
        future.set_exception(error)
        future.exception()  # read here, so that nobody is warned of one that nobody waits for
    else:
        future.set_result(None)
