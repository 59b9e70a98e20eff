"""The engine for either database, and the unit of work: one transaction for one request, ended at the edge and nowhere else."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import Engine, QueuePool, event, insert, make_url, text
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry

from apviso.protocol.wire import OrganizationId, RunnerId
from apviso.server.db.faults import as_refusal
from apviso.server.db.locks import StreamLock, take
from apviso.server.db.schema import StreamRow
from apviso.server.errors import DatabaseUnavailable
from apviso.server.metrics import DATABASE_RETRIES, transaction_measured
from apviso.server.signals import Signals

Result = TypeVar("Result")
# SQLite has one writer; the longest write is a batch of events, so a writer that waits longer than this is stuck.
SQLITE_BUSY_MS = 10_000
# How long a request waits for one of the connections, and a new connection for its server.
POOL_SECONDS = 10
CONNECT_SECONDS = 5
# Each bound leaves room for the one before it: a lock, the statement that waits for it, the answer over a dead network, a
# transaction that was forgotten.
LOCK_MS, STATEMENT_MS, ANSWER_SECONDS, IDLE_TRANSACTION_MS = 5_000, 15_000, 20, 30_000
ROWS_COUNTED = 400
# A server that was restarted is noticed by whoever comes first; the others find new connections.
ASK_AFTER_SECONDS = 5.0
# Before each repeat of what was surely rolled back. A deadlock is over at once; a fail-over is not waited for.
PAUSES = (0.02, 0.1, 0.4)
_NEWS = insert(StreamRow)


@dataclass(frozen=True)
class Work:
    """One transaction at one moment. Topics in `hints` are signalled after the commit, never after a rollback.

    Rows in `news` go into the live streams as the last thing before the commit; what is in `afterwards` is called after it.
    `touched` are runners that are shown otherwise now, though nobody has to be told.
    """

    db: AsyncConnection
    now: datetime
    hints: set[str] = field(default_factory=set)
    news: list[dict[str, Any]] = field(default_factory=list)
    afterwards: list[Callable[[], None]] = field(default_factory=list)
    touched: set[tuple[OrganizationId, RunnerId]] = field(default_factory=set)


class Database:
    """Opens transactions. Readers never wait for the writer; on SQLite writers queue in this process instead of polling the file.

    What the database cannot do now is raised as DatabaseUnavailable, which says whether it may be tried again.
    """

    def __init__(self, url: str, clock: Callable[[], datetime], signals: Signals) -> None:
        self.url = url
        self.engine = open_engine(url)
        self.clock = clock
        self._signals = signals
        # Few, and for those alone who may be asked for by a transaction that holds one of the others.
        self.aside = open_engine(url, size=2)
        # By other processes.
        self.is_shared = self.engine.dialect.name == "postgresql"
        self._writer: Callable[[], AbstractAsyncContextManager[Any]] = nullcontext
        if self.engine.dialect.name == "sqlite":
            queue = asyncio.Lock()
            self._writer = lambda: queue

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[Work]:
        asked = time.perf_counter()
        async with self._writer(), self._connected(self.engine) as connection:
            await connection.begin()
            with transaction_measured("write", asked):
                work = Work(connection, self.clock())
                yield work
                await append_news(work)
                await _commit(connection)
        for call in work.afterwards:
            call()
        self._signals.touch(work.touched)
        for topic in work.hints:
            self._signals.send(topic)

    @asynccontextmanager
    async def reading(self, *, aside: bool = False, is_brief: bool = False) -> AsyncIterator[Work]:
        """`aside` sees what is committed, whatever transaction asks for it, and never waits for one.

        `is_brief`: for a few plain statements, on PostgreSQL without a transaction around them. Each sees what is committed by then, as it
        would within one; beginning and ending it would be two trips more.
        """
        options: dict[str, Any] = {"reads_only": True}
        if is_brief and self.is_shared:
            options["isolation_level"] = "AUTOCOMMIT"
        asked = time.perf_counter()
        async with self._connected(self.aside if aside else self.engine) as connection:
            with transaction_measured("read", asked):
                yield Work(await connection.execution_options(**options), self.clock())

    @asynccontextmanager
    async def _connected(self, engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
        """A connection whose transaction is rolled back at the end unless it was committed."""
        try:
            async with engine.connect() as connection:
                yield connection
        except Exception as error:
            refusal = as_refusal(error)
            if refusal is None or refusal is error:
                raise
            raise refusal from error

    async def again(self, unit: Callable[[], Awaitable[Result]]) -> Result:
        """Run a unit of work of one transaction, again where it was surely rolled back. Raises DatabaseUnavailable."""
        for pause in PAUSES:
            try:
                return await unit()
            except DatabaseUnavailable as refusal:
                if not refusal.may_repeat:
                    raise
            await asyncio.sleep(jittered(pause))
            DATABASE_RETRIES.inc()
        return await unit()

    async def is_reachable(self) -> bool:
        async with self.engine.connect() as connection:
            await (await connection.execution_options(reads_only=True)).execute(text("SELECT 1"))
        return True

    async def take_stock(self) -> None:
        """Let the database count what its tables hold, so that it chooses the right index; PostgreSQL does so by itself."""
        if self.engine.dialect.name != "sqlite":
            return
        async with self.writing() as work:
            # A few hundred rows of each index tell enough, in milliseconds.
            await work.db.exec_driver_sql(f"PRAGMA analysis_limit={ROWS_COUNTED}")
            await work.db.exec_driver_sql("ANALYZE")
        # A connection reads the counts when it is opened.
        await self.close()

    @property
    def connections_in_use(self) -> int:
        pool = self.engine.pool
        return pool.checkedout() if isinstance(pool, QueuePool) else 0

    async def close(self) -> None:
        await self.engine.dispose()
        await self.aside.dispose()


def jittered(pause: float) -> float:
    """Two that ran into each other do not come back at the same moment."""
    return pause * random.uniform(0.5, 1.5)  # noqa: S311  # no secret hangs on it


async def append_news(work: Work) -> None:
    """Write what is to be told, at the end of a transaction.

    Numbers of a stream are given in the order of the commits: whoever has seen 7 never misses a 6 that comes later.
    """
    if not work.news:
        return
    # Last of all locks, so that nobody who holds it waits for another one.
    for organization_id in sorted({str(row["organization_id"]) for row in work.news}):
        await take(work.db, StreamLock(organization_id))
    await work.db.execute(_NEWS, work.news)
    work.news.clear()


async def _commit(connection: AsyncConnection) -> None:
    try:
        await connection.commit()
    except Exception as error:
        # The answer is lost, not necessarily the commit: whoever asked has to look, or to ask in the same words again.
        refusal = as_refusal(error)
        if refusal is None:
            raise
        refusal.may_repeat = False
        raise refusal from error


def open_engine(url: str, *, is_bounded: bool = True, size: int = 10) -> AsyncEngine:
    """An engine for either database. SQLite gets a log that readers do not wait for, and writers that queue at BEGIN.

    On PostgreSQL each wait has a bound, except for migrations.
    """
    if url.startswith("sqlite"):
        engine = create_async_engine(url, pool_size=size, max_overflow=size, pool_timeout=POOL_SECONDS, hide_parameters=True)
        _tame_sqlite(engine.sync_engine)
        return engine
    # Compiling short statements costs more than it saves, and the driver's own look at the types would be compiled, too.
    settings = {"jit": "off", "timezone": "UTC", "application_name": "apviso"}
    bounds: dict[str, Any] = {"timeout": CONNECT_SECONDS}
    if is_bounded:
        settings |= {
            "lock_timeout": str(LOCK_MS),
            "statement_timeout": str(STATEMENT_MS),
            "idle_in_transaction_session_timeout": str(IDLE_TRANSACTION_MS),
        }
        bounds |= {"command_timeout": ANSWER_SECONDS}
    engine = create_async_engine(
        url,
        pool_size=size,
        max_overflow=size,
        pool_timeout=POOL_SECONDS,
        hide_parameters=True,
        connect_args={"server_settings": settings, **bounds},
    )
    _ask_the_idle(engine.sync_engine)
    return engine


def _ask_the_idle(engine: Engine) -> None:
    """A connection that lay unused is asked whether it is still there; one that was used just now tells with its next statement.

    To ask each time, as the pool itself would, costs as much as most transactions do.
    """

    @event.listens_for(engine, "checkin")
    def note(_: object, record: ConnectionPoolEntry) -> None:
        record.info["returned_at"] = time.monotonic()

    @event.listens_for(engine, "checkout")
    def ask(connection: Any, record: ConnectionPoolEntry, _: object) -> None:
        now = time.monotonic()
        if now - record.info.get("returned_at", now) < ASK_AFTER_SECONDS:
            return
        try:
            engine.dialect.do_ping(connection)
        except Exception as error:
            # The pool opens another one.
            raise DisconnectionError from error


def connection_words(url: str) -> dict[str, Any]:
    """What the driver itself is told to reach the PostgreSQL of `url`."""
    parsed = make_url(url)
    return dict(parsed.get_dialect()().create_connect_args(parsed)[1])


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
