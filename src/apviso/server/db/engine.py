"""The engine for either database, and the unit of work: one transaction for one request, ended at the edge and nowhere else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Engine, event, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from apviso.server.signals import Signals

# SQLite has one writer; the longest write is a batch of events, so a writer that waits longer than this is stuck.
SQLITE_BUSY_MS = 10_000


@dataclass(frozen=True)
class Work:
    """One transaction at one moment. Topics in `hints` are signalled after the commit, never after a rollback."""

    db: AsyncConnection
    now: datetime
    hints: set[str] = field(default_factory=set)


class Database:
    """Opens transactions. Readers never wait for the writer; on SQLite writers queue in this process instead of polling the file."""

    def __init__(self, url: str, clock: Callable[[], datetime], signals: Signals) -> None:
        self.engine = open_engine(url)
        self.clock = clock
        self._signals = signals
        self._writer: Callable[[], AbstractAsyncContextManager[Any]] = nullcontext
        if self.engine.dialect.name == "sqlite":
            queue = asyncio.Lock()
            self._writer = lambda: queue

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[Work]:
        async with self._writer(), self.engine.begin() as connection:
            work = Work(connection, self.clock())
            yield work
        for topic in work.hints:
            self._signals.send(topic)

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[Work]:
        async with self.engine.connect() as connection:
            yield Work(await connection.execution_options(reads_only=True), self.clock())

    async def is_reachable(self) -> bool:
        async with self.engine.connect() as connection:
            await (await connection.execution_options(reads_only=True)).execute(text("SELECT 1"))
        return True

    async def close(self) -> None:
        await self.engine.dispose()


def open_engine(url: str) -> AsyncEngine:
    """An engine for either database. SQLite gets a log that readers do not wait for, and writers that queue at BEGIN."""
    if url.startswith("sqlite"):
        engine = create_async_engine(url, pool_size=10, max_overflow=10, pool_timeout=30, hide_parameters=True)
        _tame_sqlite(engine.sync_engine)
        return engine
    return create_async_engine(url, pool_size=10, max_overflow=10, pool_timeout=30, pool_pre_ping=True, hide_parameters=True)


def _tame_sqlite(engine: Engine) -> None:
    @event.listens_for(engine, "connect")
    def pragmas(connection: Any, _: object) -> None:
        connection.isolation_level = None  # the driver's own BEGIN would come too late to be IMMEDIATE
        # FULL: what was acknowledged survives a power cut, not only a crash of the process.
        for pragma in ("journal_mode=WAL", "synchronous=FULL", f"busy_timeout={SQLITE_BUSY_MS}", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def begin(connection: Any) -> None:
        mode = "DEFERRED" if connection.get_execution_options().get("reads_only") else "IMMEDIATE"
        connection.exec_driver_sql(f"BEGIN {mode}")
