"""This process among others on one PostgreSQL: carries wake-ups, says who does the timed duties, knows when all were deaf."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any

import asyncpg
import structlog

from apviso.server.db.engine import CONNECT_SECONDS, connection_words, jittered
from apviso.server.db.locks import HOUSE, JOINING, MEMBERS
from apviso.server.errors import DatabaseUnavailable
from apviso.server.signals import EVERYONE, Signals

log = structlog.get_logger("apviso.replica")
CHANNEL = "apviso_hints"
# Hints of this long travel together.
GATHER_SECONDS = 0.01
# A payload may have 8,000 bytes.
TOPICS_IN_ONE = 100
MAX_OWED = 1_000
# How often the connection is tried while there is nothing to tell, and how long the server may take for an answer.
PING_SECONDS, ANSWER_SECONDS = 5.0, 5.0
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 2.0
# Whoever was cut off for less than a heartbeat has missed nobody.
DEAF_AFTER = timedelta(seconds=15)
# The server finds out within half a minute that this host is gone, and lets go of its locks.
SESSION = {"application_name": "apviso", "tcp_keepalives_idle": "10", "tcp_keepalives_interval": "5", "tcp_keepalives_count": "3"}
FAILURES = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, DatabaseUnavailable)

OTHER_MEMBERS = """
SELECT count(*) FROM pg_locks
WHERE locktype = 'advisory' AND classid = $1 AND granted AND pid <> pg_backend_pid()
  AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
GRANT_AMNESTY = """
INSERT INTO control_plane (id, amnesty_until) VALUES (1, $1) ON CONFLICT (id) DO UPDATE SET amnesty_until = excluded.amnesty_until
"""


class Replica:
    """One connection that listens, tells, and holds this process' locks; they all go with it when it dies.

    On SQLite there is one process: it hears itself and does every duty. `on_joining` is told whether no other process has been there.
    """

    def __init__(
        self,
        url: str,
        clock: Callable[[], datetime],
        signals: Signals,
        amnesty: timedelta,
        on_joining: Callable[[bool], Awaitable[None]],
    ) -> None:
        self._url = url
        self._on_joining = on_joining
        self._clock = clock
        self._signals = signals
        self._amnesty = amnesty
        self._is_alone = url.startswith("sqlite")
        self._connection: Any = None
        self._speaking = asyncio.Lock()
        self._keeps_house = False
        self._heard_at: datetime | None = None
        self._owed: set[str] = set()
        self._stirred = asyncio.Event()
        # Until then nothing is marked offline and no lease expires: everyone gets time to reach servers that were all away.
        self.amnesty_until = clock() + amnesty

    @asynccontextmanager
    async def joined(self) -> AsyncIterator[None]:
        """Belong to the others while the body runs."""
        if self._is_alone:
            self.amnesty_until = self._clock() + self._amnesty
            await self._on_joining(True)
            yield
            return
        await self._join()
        self._signals.relay = self._owe
        try:
            async with asyncio.TaskGroup() as group:
                task = group.create_task(self._stay(), name="replica")
                try:
                    yield
                finally:
                    task.cancel()
        finally:
            self._signals.relay = None
            await self._part()

    async def keeps_house(self) -> bool:
        """Whether the timed duties are this process' to do. One has them until it ends or loses its connection; then another takes over."""
        if self._is_alone:
            return True
        if self._connection is None:
            return False
        try:
            if not self._keeps_house:
                self._keeps_house = bool(await self._ask("SELECT pg_try_advisory_lock($1, 0)", HOUSE))
        except FAILURES:
            return False
        # It may have been lost while it was asked.
        return self._keeps_house and self._connection is not None and not self._connection.is_closed()

    @property
    def is_among_others(self) -> bool:
        """Whether one of the others keeps house, as far as is known without asking; a process that is cut off knows nothing of them."""
        return not self._is_alone and not self._keeps_house and self._connection is not None and not self._connection.is_closed()

    def grant_amnesty(self) -> None:
        """By this process alone: its clock was set, and nobody's silence can be told from that."""
        self.amnesty_until = self._clock() + self._amnesty

    @property
    def is_keeping_house(self) -> bool:
        """As `keeps_house` last found, without asking."""
        return self._is_alone or (self._keeps_house and self._connection is not None and not self._connection.is_closed())

    # ---- telling and hearing

    def _owe(self, topic: str) -> None:
        """Others are to be told. Beyond a bound they are told to look at everything."""
        if len(self._owed) < MAX_OWED:
            self._owed.add(topic)
        else:
            self._owed = {EVERYONE}
        self._stirred.set()

    def _hear(self, _: object, sender: int, __: str, payload: str) -> None:
        if self._connection is not None and sender == self._connection.get_server_pid():
            return
        for topic in json.loads(payload):
            self._signals.deliver(str(topic))

    async def _tell(self) -> None:
        """Pass hints on until the connection is lost, which is raised."""
        while True:
            try:
                async with asyncio.timeout(PING_SECONDS):
                    await self._stirred.wait()
                await asyncio.sleep(GATHER_SECONDS)
            except TimeoutError:
                pass
            self._stirred.clear()
            topics, self._owed = sorted(self._owed), set()
            for start in range(0, len(topics), TOPICS_IN_ONE):
                await self._ask("SELECT pg_notify($1, $2)", CHANNEL, json.dumps(topics[start : start + TOPICS_IN_ONE]))
            await self._ask("SELECT 1")

    async def _stay(self) -> None:
        while True:
            try:
                await self._tell()
            except FAILURES as error:
                log.warning("connection to the other replicas lost", error=type(error).__name__)
            self._signals.is_deaf = True
            await self._part()
            await self._come_back()
            self._signals.is_deaf = False
            # What was said meanwhile was heard by nobody, on either side.
            self._owed = {EVERYONE}
            self._stirred.set()
            self._signals.deliver(EVERYONE)

    async def _come_back(self) -> None:
        pause = FIRST_PAUSE
        while True:
            await asyncio.sleep(jittered(pause))
            pause = min(2 * pause, LONGEST_PAUSE)
            try:
                await self._join()
            except FAILURES as error:
                log.warning("the other replicas cannot be reached", error=type(error).__name__)
            else:
                return

    async def _ask(self, question: str, *arguments: object) -> Any:
        async with self._speaking:
            # While one waited for one's turn, it may have been lost.
            if self._connection is None:
                raise ConnectionError("the connection to the other replicas is lost")
            answer = await self._connection.fetchval(question, *arguments, timeout=ANSWER_SECONDS)
        self._heard_at = self._clock()
        return answer

    # ---- joining and parting

    async def _join(self) -> None:
        """Connect, and find out whether anybody was there meanwhile; where nobody was, everyone has amnesty from now on."""
        connection = await asyncpg.connect(
            **connection_words(self._url), timeout=CONNECT_SECONDS, command_timeout=ANSWER_SECONDS, server_settings=SESSION
        )
        try:
            await connection.add_listener(CHANNEL, self._hear)
            connection.add_termination_listener(lambda _: self._stirred.set())
            # One after the other, or two that come together would each take the other for one that was there all the time.
            await connection.execute("SELECT pg_advisory_lock($1, 0)", JOINING)
            now = self._clock()
            was_deaf = self._heard_at is None or now - self._heard_at > DEAF_AFTER
            is_first = was_deaf and not await connection.fetchval(OTHER_MEMBERS, MEMBERS)
            if is_first:
                await connection.execute(GRANT_AMNESTY, now + self._amnesty)
            self.amnesty_until = await connection.fetchval("SELECT amnesty_until FROM control_plane WHERE id = 1") or now
            await self._on_joining(is_first)
            await connection.execute("SELECT pg_advisory_lock_shared($1, 0)", MEMBERS)
            await connection.execute("SELECT pg_advisory_unlock($1, 0)", JOINING)
        except BaseException:
            connection.terminate()
            raise
        self._connection, self._keeps_house, self._heard_at = connection, False, now

    async def _part(self) -> None:
        connection, self._connection, self._keeps_house = self._connection, None, False
        if connection is None:
            return
        try:
            await connection.close(timeout=ANSWER_SECONDS)
        except FAILURES:
            connection.terminate()
