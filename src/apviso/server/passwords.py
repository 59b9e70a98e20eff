"""Argon2id digests of passwords. Few are worked out at once: each takes 64 MiB and a core for a while."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import cache
from typing import ParamSpec, TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from apviso.server.errors import Overloaded

P = ParamSpec("P")
T = TypeVar("T")
AT_ONCE, MOST_WAITING = 2, 40
_HASHER = PasswordHasher()


class Passwords:
    """Works beside the event loop. Raises Overloaded where too many wait for theirs."""

    def __init__(self) -> None:
        self._waiting = 0
        self._running = asyncio.Semaphore(AT_ONCE)

    async def digest(self, password: str) -> str:
        """What is kept of a password: the algorithm, its costs, a salt and the digest in one text."""
        return await self._beside(_HASHER.hash, password)

    async def matches(self, digest: str | None, password: str) -> bool:
        """Takes as long for somebody who has no password, or is not known at all."""
        known = digest if digest is not None else await self._beside(_nobodys)
        is_right = await self._beside(_verify, known, password)
        return is_right and digest is not None

    async def _beside(self, work: Callable[P, T], *told: P.args, **named: P.kwargs) -> T:
        if self._waiting >= MOST_WAITING:
            raise Overloaded(retry_after=5)
        self._waiting += 1
        try:
            async with self._running:
                return await asyncio.to_thread(work, *told, **named)
        finally:
            self._waiting -= 1


def _verify(digest: str, password: str) -> bool:
    try:
        return _HASHER.verify(digest, password)
    except (VerificationError, InvalidHashError):
        return False


@cache
def _nobodys() -> str:
    return _HASHER.hash("nobody's")
