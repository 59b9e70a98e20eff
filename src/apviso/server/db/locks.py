"""Locks that belong to no row. SQLite has one writer and needs none of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection


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
    """One timed duty."""

    kind = 0x4150_0003


async def take(connection: AsyncConnection, lock: Lock) -> None:
    """Wait for the lock, and hold it until the transaction ends."""
    if connection.dialect.name == "postgresql":
        await connection.execute(text("SELECT pg_advisory_xact_lock(:kind, hashtext(:name))"), {"kind": lock.kind, "name": lock.name})


async def try_take(connection: AsyncConnection, lock: Lock) -> bool:
    """The same without waiting; whether it was free."""
    if connection.dialect.name != "postgresql":
        return True
    asked = text("SELECT pg_try_advisory_xact_lock(:kind, hashtext(:name))")
    return bool(await connection.scalar(asked, {"kind": lock.kind, "name": lock.name}))
