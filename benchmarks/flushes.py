"""Writing ten thousand heartbeats behind, beside the barest statements that write the same columns into the same table."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import count

import asyncpg

from apviso.protocol.wire import OrganizationId, RunnerId
from apviso.server.fastlane import write_beats
from apviso.server.resources import Resources
from apviso.server.runners import store
from apviso.server.runners.facts import RunnerFacts
from benchmarks.fleet import DURABLE
from benchmarks.in_process import control_plane
from benchmarks.measuring import Bar, Side, Told, interleaved, ratios
from tests.support.postgres import PostgresServer, postgres_server

ROUNDS = 9
RUNNERS, BATCH = 10_000, 1_000
COLUMNS = {
    "version": "varchar", "beat_seq": "bigint", "claim_poll_age_ms": "bigint", "os": "varchar", "arch": "varchar",
    "container_engine": "varchar", "configured_concurrency": "int", "provider_state": "json", "capabilities": "json", "health": "json",
    "last_heartbeat_at": "timestamptz", "last_contact_at": "timestamptz",
}  # fmt: skip
_JSON = '{"diskFreeBytes":107374182400,"clockSkewMs":3,"spoolBacklogBytes":0}'
# Each write has a higher number than all before it, whoever makes it.
_SEQUENCE = count(2)


async def rows() -> list[Told]:
    with ExitStack() as stack:
        postgres = await asyncio.to_thread(lambda: stack.enter_context(postgres_server(**DURABLE)))
        database = stack.enter_context(postgres.database())
        return [*await _on_postgres(postgres, database), *await _on_sqlite()]


async def _on_postgres(postgres: PostgresServer, database: str) -> list[Told]:
    async with control_plane(RUNNERS, postgres.url(database)) as (ready, plant):
        flush = Flush(plant, await _facts(plant, ready.organization_id))
        connection = await asyncpg.connect(host=str(postgres.folder), user="tests", database=database, timeout=30)
        try:
            ours, bare = await interleaved(ROUNDS, flush, _unnest(connection, [runner.id for runner in flush.runners]))
        finally:
            await connection.close()
    return _bars(f"asyncpg, UPDATE FROM unnest, {BATCH} rows a transaction", "PostgreSQL", ours, bare, flush)


async def _on_sqlite() -> list[Told]:
    async with control_plane(RUNNERS) as (ready, plant):
        flush = Flush(plant, await _facts(plant, ready.organization_id))
        file = str(ready.folder / "data" / "apviso.db")
        ours, bare = await interleaved(ROUNDS, flush, _executemany(file, [runner.id for runner in flush.runners]))
    return _bars(f"sqlite3 in a thread, executemany, {BATCH} rows a transaction, synchronous=FULL", "SQLite", ours, bare, flush)


def _bars(what: str, where: str, ours: list[float], bare: list[float], flush: Flush) -> list[Told]:
    held = Side(f"longest that the loop answers nobody during a flush of {RUNNERS}", [one * 1000 for one in flush.held], "ms")
    sides = [Side("ours", ours, "rows a second"), Side(what, bare, "rows a second"), held]
    return [Bar("G6", f"rows written behind a second on {where}, of a bare statement's", ratios(ours, bare), 0.8, True, sides)]


async def _facts(plant: Resources, organization_id: str) -> list[RunnerFacts]:
    async with plant.database.reading() as work:
        ids = await store.list_ids(work, OrganizationId(organization_id))
        return list((await store.list_by_id(work, OrganizationId(organization_id), ids)).values())


@dataclass
class Flush:
    """Rows a second of our own write-behind, with every runner's heartbeat to be written."""

    plant: Resources
    runners: list[RunnerFacts]
    held: list[float] = field(default_factory=list)

    async def __call__(self) -> float:
        now, sequence = self.plant.database.clock(), next(_SEQUENCE)
        changed = {"beat_seq": sequence, "last_heartbeat_at": now, "last_contact_at": now, "claim_poll_age_ms": 800}
        self.plant.beats.give_back({RunnerId(one.id): one.changed(changed) for one in self.runners})
        watch = asyncio.create_task(self._watch())
        began = time.perf_counter()
        await write_beats(self.plant)
        seconds = time.perf_counter() - began
        watch.cancel()
        return len(self.runners) / seconds

    async def _watch(self) -> None:
        """How much later than wanted the loop comes back, at most."""
        self.held.append(0.0)
        while True:
            began = time.perf_counter()
            await asyncio.sleep(0.001)
            self.held[-1] = max(self.held[-1], time.perf_counter() - began - 0.001)


def _unnest(connection: asyncpg.Connection, ids: list[RunnerId]) -> Callable[[], Awaitable[float]]:
    given = ", ".join(f"${place}::{kind}[]" for place, kind in enumerate(COLUMNS.values(), start=2))
    statement = (
        f"UPDATE runners AS r SET {', '.join(f'{name} = v.{name}' for name in COLUMNS)} FROM unnest($1::varchar[], {given})"  # noqa: S608
        f" AS v(id, {', '.join(COLUMNS)}) WHERE r.id = v.id AND r.beat_seq < v.beat_seq"
    )

    async def write() -> float:
        now, sequence = await connection.fetchval("SELECT now()"), next(_SEQUENCE)
        began = time.perf_counter()
        for first in range(0, len(ids), BATCH):
            batch = ids[first : first + BATCH]
            await connection.execute(statement, batch, *([value] * len(batch) for value in _values(sequence, now)))
        return len(ids) / (time.perf_counter() - began)

    return write


def _executemany(file: str, ids: list[RunnerId]) -> Callable[[], Awaitable[float]]:
    statement = f"UPDATE runners SET {', '.join(f'{name} = ?' for name in COLUMNS)} WHERE id = ? AND beat_seq < ?"  # noqa: S608  # fixed

    def write() -> float:
        sequence = next(_SEQUENCE)
        connection = sqlite3.connect(file, timeout=60, isolation_level=None)
        connection.execute("PRAGMA synchronous=FULL")
        values = _values(sequence, "2026-05-03 09:15:32.000000")
        began = time.perf_counter()
        for first in range(0, len(ids), BATCH):
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(statement, [(*values, one, sequence) for one in ids[first : first + BATCH]])
            connection.execute("COMMIT")
        seconds = time.perf_counter() - began
        connection.close()
        return len(ids) / seconds

    return lambda: asyncio.to_thread(write)


def _values(sequence: int, now: object) -> tuple[object, ...]:
    return ("0.1.0", sequence, 800, "linux", "x86_64", "docker", 2, _JSON, _JSON, _JSON, now, now)
