"""Locks that belong to no row. SQLite has one writer and needs none of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

# Held by a process' own connection as long as it lives: who does the timed duties, who is there, and who is just coming.
HOUSE, MEMBERS, JOINING = 0x4150_0011, 0x4150_0012, 0x4150_0013


@dataclass(frozen=True)
class Lock:
    """`kind` keeps the locks of this product apart from each other; `name` is one of a kind."""

    kind: ClassVar[int]
    name: str


class UpgradeLock(Lock):
    """Processes that start together upgrade one after the other."""

    kind = 0x4150_0001


class StreamLock(Lock):
    """Whoever appends to an organization's live stream, until the commit."""

    kind = 0x4150_0002


class DutyLock(Lock):
    """One timed duty: whoever has just lost the house may still be at it."""

    kind = 0x4150_0003


_TAKEN = text("SELECT pg_advisory_xact_lock(:kind, hashtext(:name))")


async def take(connection: AsyncConnection, lock: Lock) -> None:
    """Wait for the lock, and hold it until the transaction ends."""
    if connection.dialect.name == "postgresql":
        await connection.execute(_TAKEN, {"kind": lock.kind, "name": lock.name})
