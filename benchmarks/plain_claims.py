"""Runs in the queues' environment: jobs that eight claimers take from other queues, and by the barest statements. A word in, a rate out."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

CLAIMERS, SECONDS, JOBS = 8, 2.0, 20_000
BARE = (
    "UPDATE jobs SET status = 'assigned', runner = $1, claimed_at = now() WHERE id ="
    " (SELECT id FROM jobs WHERE status = 'queued' ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED) RETURNING id, body"
)
TABLE = "CREATE TABLE jobs (id INTEGER PRIMARY KEY, status TEXT NOT NULL, runner TEXT, claimed_at {0}, body TEXT NOT NULL)"
INDEX = "CREATE INDEX queued ON jobs (id) WHERE status = 'queued'"
BODY = "x" * 300
# Takes one job; whether there was one.
Take = Callable[[], Awaitable[bool]]


async def rate(takes: list[Take]) -> float:
    """Jobs a second, taken by so many claimers at a time."""

    async def claim(take: Take) -> int:
        taken = 0
        while time.perf_counter() - began < SECONDS:
            taken += await take()
        return taken

    began = time.perf_counter()
    taken = await asyncio.gather(*(claim(take) for take in takes))
    return sum(taken) / (time.perf_counter() - began)


async def bare(host: str, database: str) -> Callable[[], Awaitable[float]]:
    pool = await import_module("asyncpg").create_pool(host=host, user="tests", database=database, min_size=CLAIMERS, max_size=CLAIMERS)
    await pool.execute(TABLE.format("timestamptz") + ";" + INDEX)

    async def take() -> bool:
        return await pool.fetchrow(BARE, "runner") is not None

    async def deed() -> float:
        await pool.execute("TRUNCATE jobs")
        await pool.execute("INSERT INTO jobs (id, status, body) SELECT n, 'queued', $1 FROM generate_series(1, $2::int) n", BODY, JOBS)
        await pool.execute("ANALYZE jobs")
        return await rate([take] * CLAIMERS)

    return deed


async def procrastinate(host: str, database: str) -> Callable[[], Awaitable[float]]:
    library = import_module("procrastinate")
    connector = library.PsycopgConnector(
        kwargs={"host": host, "user": "tests", "dbname": database}, min_size=CLAIMERS, max_size=CLAIMERS + 2
    )
    app = library.App(connector=connector, import_paths=[])
    await app.open_async()
    await app.schema_manager.apply_schema_async()
    task = app.task(name="job")(print)
    worker_id = await app.job_manager.register_worker()
    left = 0

    async def take() -> bool:
        nonlocal left
        found = await app.job_manager.fetch_job(queues=None, worker_id=worker_id) is not None
        left -= found
        return found

    async def deed() -> float:
        nonlocal left
        while left < JOBS:
            await task.batch_defer_async(*({"body": BODY} for _ in range(1_000)))
            left += 1_000
        return await rate([take] * CLAIMERS)

    return deed


async def pgqueuer(host: str, database: str) -> Callable[[], Awaitable[float]]:
    pool = await import_module("asyncpg").create_pool(host=host, user="tests", database=database, min_size=CLAIMERS, max_size=CLAIMERS + 2)
    library = import_module("pgqueuer.queries")
    queries = library.Queries(import_module("pgqueuer.db").AsyncpgPoolDriver(pool))
    await queries.install()
    wanted, manager = {"job": library.EntrypointExecutionParameter(0)}, uuid4()
    left = 0

    async def take() -> bool:
        nonlocal left
        found = len(await queries.dequeue(1, wanted, manager, None, timedelta(minutes=5)))
        left -= found
        return found > 0

    async def deed() -> float:
        nonlocal left
        while left < JOBS:
            await queries.enqueue(["job"] * 1_000, [BODY.encode()] * 1_000, [0] * 1_000)
            left += 1_000
        return await rate([take] * CLAIMERS)

    return deed


def sqlite(file: Path) -> Callable[[], Awaitable[float]]:
    """One writer, a durable transaction for each claim."""
    connection = sqlite3.connect(file, isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute(TABLE.format("TEXT"))
    connection.execute(INDEX)
    claim = BARE.replace(" FOR UPDATE SKIP LOCKED", "").replace("now()", "CURRENT_TIMESTAMP").replace("$1", "?")

    async def deed() -> float:
        connection.execute("DELETE FROM jobs")
        rows = [(number, BODY) for number in range(JOBS)]
        connection.execute("BEGIN")
        connection.executemany("INSERT INTO jobs (id, status, body) VALUES (?, 'queued', ?)", rows)
        connection.execute("COMMIT")
        taken, began = 0, time.perf_counter()
        while time.perf_counter() - began < SECONDS:
            connection.execute("BEGIN IMMEDIATE")
            taken += len(connection.execute(claim, ("runner",)).fetchall())
            connection.execute("COMMIT")
        return taken / (time.perf_counter() - began)

    return deed


async def main(host: str, *databases: str) -> None:
    made: dict[str, Any] = {}
    with TemporaryDirectory(prefix="bench-") as folder:
        made["sqlite"] = sqlite(Path(folder) / "jobs.db")
        for name, make, database in zip(("bare", "procrastinate", "pgqueuer"), (bare, procrastinate, pgqueuer), databases, strict=True):
            made[name] = await make(host, database)
        loop = asyncio.get_running_loop()
        while word := (await loop.run_in_executor(None, sys.stdin.readline)).strip():
            sys.stdout.write(f"{await made[word]()}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
