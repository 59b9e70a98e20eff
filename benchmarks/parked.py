"""Ten thousand idle long polls on one server: what each costs, what all cost while nothing happens, and how soon all are answered."""

from __future__ import annotations

import asyncio
import json
import resource
import signal
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

from benchmarks.connection import Answer, Connection, post
from benchmarks.fleet import DURABLE
from benchmarks.measuring import Absent, Bar, Side, Told
from benchmarks.plant import PATIENT, Plant, plant
from benchmarks.seeding import Enrolled
from benchmarks.server_watch import Load
from tests.support.postgres import postgres_server

# A fresh server each: its memory before anyone waits is part of what is measured.
ROUNDS = 2
POLLS = 10_000
WAIT_SECONDS, IDLE_SECONDS, SECONDS = 60, 20, 400.0
# Connections that are opened at a time, and how long a poll may need until it is held.
AT_ONCE, SETTLE_SECONDS = 64, 10


@dataclass(frozen=True)
class Parked:
    """KiB for each poll and for each runner that the server knows, share of a core while idle, seconds until all were answered, how
    many were not, and how many had been answered before."""

    kib: float
    known: float
    idle: float
    answered: float
    lost: int
    early: int


async def rows() -> list[Told]:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < POLLS + 500:
        return [Absent(f"G8: {POLLS} idle long polls", f"only {hard} open files are allowed here (ulimit -n)")]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    seen = []
    with ExitStack() as stack:
        postgres = await asyncio.to_thread(lambda: stack.enter_context(postgres_server(**DURABLE)))
        url = postgres.url(stack.enter_context(postgres.database()))
        ready = await asyncio.to_thread(lambda: stack.enter_context(plant(POLLS, PATIENT, url, have_spoken=True)))
        for _ in range(ROUNDS):
            async with asyncio.timeout(SECONDS):
                seen.append(await _round(ready))
    known = [Side("for each runner that has called, beside that", [one.known for one in seen], "KiB")]
    lost = [
        Side("polls without an answer", [one.lost for one in seen], f"of {POLLS}"),
        Side("polls that were over before", [one.early for one in seen], f"of {POLLS}"),
    ]
    return [
        Bar("G8", f"memory of an idle long poll, {POLLS} of them", [one.kib for one in seen], 20, False, known, unit="KiB"),
        Bar("G8", "processor while all of them wait", [one.idle * 100 for one in seen], 1, False, unit="% of a core"),
        Bar("G8", "until all are answered when the server ends", [one.answered for one in seen], 1.5, False, lost, unit="s"),
    ]


async def _round(ready: Plant) -> Parked:
    load = Load(await asyncio.to_thread(ready.serve))
    server = ready.server
    assert server is not None
    empty = load.memory()
    # The first call of each runner takes the longer way; after it the server knows the runner.
    await _each(ready, partial(_call, wait=0))
    known = load.memory()
    polls: list[asyncio.Task[Answer]] = []

    async def park(ready: Plant, one: Enrolled) -> None:
        polls.append(asyncio.create_task(_call(ready, one, wait=WAIT_SECONDS)))
        await asyncio.sleep(0.01)

    await _each(ready, park)
    await asyncio.sleep(SETTLE_SECONDS)
    parked = load.memory()
    load.start()
    await asyncio.sleep(IDLE_SECONDS)
    load.sample()
    early = sum(poll.done() for poll in polls)
    began = time.monotonic()
    server.signal(signal.SIGTERM)
    answers = await asyncio.gather(*polls, return_exceptions=True)
    answered = time.monotonic() - began
    lost = sum(isinstance(one, BaseException) for one in answers)
    await asyncio.to_thread(server.wait, 60)
    return Parked((parked - known) * 1024 / POLLS, (known - empty) * 1024 / POLLS, load.cores[-1], answered, lost, early)


async def _each(ready: Plant, deed: Callable[[Plant, Enrolled], Awaitable[object]]) -> None:
    left = iter(ready.runners)

    async def work() -> None:
        for one in left:
            await deed(ready, one)

    async with asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(work())


async def _call(ready: Plant, one: Enrolled, wait: int) -> Answer:
    connection = await Connection.open(ready.port, f"127.0.0.{2 + one.number % 8}", SECONDS)
    body = json.dumps({"nonce": f"{time.monotonic_ns()}-{one.number}", "freeSlots": 1}).encode()
    answer = await connection.ask(post(f"/api/runner/jobs/claim?wait={wait}", one.token, body), SECONDS)
    connection.abort()
    assert answer.status == 200, answer
    return answer
