"""`python -m benchmarks.fleet`: a fleet of connected runners against one control plane. Says what it costs, and whether it is true."""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import random
import resource
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from statistics import median, quantiles

import psutil
import uvloop

from benchmarks.plant import Plant, end_in_order, plant
from benchmarks.projection import Measured, projection
from benchmarks.seeding import Enrolled, speak
from benchmarks.server_watch import Load, Stream
from benchmarks.simulated_runner import IDLE_SECONDS, OnJob, SimulatedRunner, Tally
from tests.support.postgres import postgres_server

# Runners that come in a second unless told otherwise: their first calls take the documented way, with transactions.
STARTS_PER_SECOND = 50
CONNECT_SECONDS = 900
SAMPLE_SECONDS = 5.0
# Silence counts only once a started server has given everyone time to report.
AMNESTY_SECONDS = 125.0
OFFLINE_WITHIN_SECONDS = 65.0
# A database as one would run it, not as the tests do.
DURABLE = {
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "autovacuum": "on",
    "shared_buffers": "128MB",
    "max_wal_size": "1GB",
}


@dataclass
class Fleet:
    plant: Plant
    load: Load
    tally: Tally
    runners: list[SimulatedRunner] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def check(self, holds: bool, what: str) -> None:
        print(f"  {'held    ' if holds else 'NOT HELD'}  {what}", flush=True)
        if not holds:
            self.problems.append(what)


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fleet", description=__doc__)
    parser.add_argument("--runners", type=int, default=1000)
    parser.add_argument("--minutes", type=float, default=5, help="how long the whole fleet is measured")
    parser.add_argument("--vanish", type=int, default=0, help="how many of them then stop without a word")
    parser.add_argument("--spread", type=float, default=0, help="seconds in which they all come; 1/50 for each by default")
    parser.add_argument("--known", action="store_true", help="as after a restart of the server: their last heartbeats came just before")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--database-url", default="", help="an empty PostgreSQL database; SQLite unless told otherwise")
    where.add_argument("--postgres", action="store_true", help="start a PostgreSQL for it")
    told = parser.parse_args(words)
    end_in_order()
    with ExitStack() as stack:
        url = told.database_url
        if told.postgres:
            postgres = stack.enter_context(postgres_server(**DURABLE))
            url = postgres.url(stack.enter_context(postgres.database()))
        ready = stack.enter_context(plant(told.runners, {}, url, have_spoken=told.known))
        print(f"{told.runners} runners on {'PostgreSQL' if url else 'SQLite'}; {os.cpu_count()} cores, load {_load()}", flush=True)
        if told.known:
            asyncio.run(speak(ready.effective_url))
        return uvloop.run(_run(ready, told.minutes * 60, told.vanish, told.spread or told.runners / STARTS_PER_SECOND))


async def _run(ready: Plant, seconds: float, vanish: int, spread: float) -> int:
    load = Load(await asyncio.to_thread(ready.serve))
    serving_since = time.monotonic()
    before = load.memory()
    fleet = Fleet(ready, load, Tally())
    stream = Stream(ready.url, ready.api_key)
    async with _following(stream):
        await connect(fleet, spread)
        print(f"all connected: {_memory(load.memory(), before, len(fleet.runners))}", flush=True)
        measured = await _measure(fleet, seconds, before)
        await _check_statuses(fleet, set())
        if vanish:
            await asyncio.sleep(max(0.0, serving_since + AMNESTY_SECONDS - time.monotonic()))
            await _vanish(fleet, stream, vanish)
        _check_failures(fleet, stream, vanish)
    for runner in fleet.runners:
        runner.vanish()
    print(projection(measured))
    print(f"{'held' if not fleet.problems else 'NOT HELD: ' + '; '.join(fleet.problems)}; load {_load()}")
    return 1 if fleet.problems else 0


@asynccontextmanager
async def _following(stream: Stream) -> AsyncIterator[None]:
    task = asyncio.create_task(stream.follow())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def connect(fleet: Fleet, spread: float, on_job: OnJob | None = None) -> None:
    """Start every runner, `spread` over so many seconds, and wait until each was heard and has held a long poll."""
    enrolled: list[Enrolled] = fleet.plant.runners
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    # Where two connections for each runner are not allowed, heartbeats let theirs go sooner.
    idle = IDLE_SECONDS if hard == resource.RLIM_INFINITY or hard > 2 * len(enrolled) + 500 else 2.0
    fleet.runners = [SimulatedRunner(one, fleet.plant.port, fleet.tally, on_job, idle) for one in enrolled]
    began = time.monotonic()

    async def start(place: int, runner: SimulatedRunner) -> None:
        await asyncio.sleep(spread * place / len(enrolled))
        await runner.start()

    async with asyncio.timeout(spread + CONNECT_SECONDS):
        async with asyncio.TaskGroup() as group:
            for place, runner in enumerate(fleet.runners):
                group.create_task(start(place, runner))
        heard = time.monotonic() - began
        # The first poll of each has ended: from now on they are what they are all the time.
        for runner in fleet.runners:
            await runner.has_polled.wait()
    # A pause of this process would be taken for one of the server's.
    gc.collect()
    gc.disable()
    print(f"they came within {spread:.0f} s; the last was heard after {heard:.1f} s, had polled after {time.monotonic() - began:.1f} s")
    print(f"  refused until then        {_failed(fleet.tally)}", flush=True)
    fleet.tally.failures.clear()
    fleet.tally.samples.clear()


async def _measure(fleet: Fleet, seconds: float, empty: float) -> Measured:
    # The first interval still holds what the start has left behind.
    await asyncio.sleep(min(20.0, seconds))
    fleet.tally.is_counting = True
    own = psutil.Process()
    own.cpu_percent()
    fleet.load.start()
    for _ in range(max(1, round(seconds / SAMPLE_SECONDS))):
        await asyncio.sleep(SAMPLE_SECONDS)
        fleet.load.sample()
    fleet.tally.is_counting = False
    load, tally = fleet.load, fleet.tally
    print(f"measured over {seconds:.0f} s; load {_load()}")
    print(f"  server, share of a core   median {median(load.cores):.3f} ({min(load.cores):.3f} to {max(load.cores):.3f})")
    print(f"  server, resident MiB      median {median(load.resident):.1f} ({min(load.resident):.1f} to {max(load.resident):.1f})")
    print(f"  this client               {own.cpu_percent() / 100:.3f} of a core")
    print(f"  heartbeats                {len(tally.beats) / seconds:.1f} a second, {_latency(tally.beats)}")
    print(f"  long polls                {len(tally.polls) / seconds:.1f} a second, held {_held(tally.polls)}")
    print(f"  connections opened        {tally.connections} in all; not accepting: {dict(tally.not_accepting) or 'none'}")
    print(f"  failed calls              {_failed(tally)}", flush=True)
    fleet.check(load.growth <= 0.05 * median(load.resident), f"memory is flat: {load.growth:+.1f} MiB from the first fifth to the last")
    return Measured(len(fleet.runners), median(load.cores), median(load.resident), empty)


async def _check_statuses(fleet: Fleet, gone: set[str]) -> None:
    """Every runner that is there is online, every other one offline."""
    began = time.perf_counter()
    answer = await asyncio.to_thread(fleet.plant.ask, "/runners")
    took = time.perf_counter() - began
    shown = {one["id"]: one for one in answer.json()["runners"]}
    wrong = Counter[str]()
    for runner in fleet.runners:
        status = shown[runner.runner.id]["status"]
        if status != ("offline" if runner.runner.id in gone else "online"):
            wrong[f"{status} {','.join(shown[runner.runner.id]['statusReasons'])}"] += 1
    what = f"{len(shown)} statuses on GET /api/v1/runners are right ({took * 1000:.0f} ms, {len(answer.content) / 1e6:.1f} MB)"
    fleet.check(not wrong and len(shown) == len(fleet.runners), f"{what}{'; wrong: ' + str(dict(wrong)) if wrong else ''}")


async def _vanish(fleet: Fleet, stream: Stream, count: int) -> None:
    gone = random.sample(fleet.runners, count)
    ids = {runner.runner.id for runner in gone}
    for runner in gone:
        runner.vanish()
    began = time.monotonic()
    print(f"{count} of them have vanished", flush=True)
    fleet.runners = [runner for runner in fleet.runners if runner.runner.id not in ids] + gone
    offline: set[str] = set()
    while offline != ids and time.monotonic() - began < OFFLINE_WITHIN_SECONDS:
        await asyncio.sleep(2 if time.monotonic() - began > 40 else 10)
        answer = await asyncio.to_thread(fleet.plant.ask, "/runners?status=offline")
        offline = {one["id"] for one in answer.json()["runners"]}
    took = time.monotonic() - began
    fleet.check(offline == ids and took <= OFFLINE_WITHIN_SECONDS, f"{len(offline)} are offline after {took:.1f} s")
    # The watch tells them when it looks next, and the stream after that.
    await asyncio.sleep(10)
    told = stream.of("runner.offline")
    right = set(told) & ids
    fleet.check(set(told) == ids, f"runner.offline was told of {len(right)} of those {count} and of {len(told) - len(right)} others")
    fleet.check(max(told.values(), default=0) <= 1, f"at most {max(told.values(), default=0)} such event for each")
    await _check_statuses(fleet, ids)


def _check_failures(fleet: Fleet, stream: Stream, vanished: int) -> None:
    fleet.check(not fleet.tally.failures, f"no call failed: {_failed(fleet.tally)}")
    for what, sample in fleet.tally.samples.items():
        print(f"    {what}: {sample}")
    if not vanished:
        others = len(stream.of("runner.offline"))
        fleet.check(others == 0, f"runner.offline was told of {others}")
    fleet.check(fleet.plant.turned_away == 0, f"{fleet.plant.turned_away} questions of people were turned away with 503")
    fleet.check(stream.cuts == 0, f"the live stream was cut off {stream.cuts} times")


def _latency(seconds: Sequence[float]) -> str:
    if len(seconds) < 2:
        return "too few to tell"
    cut = quantiles(seconds, n=1000)
    return f"p50 {cut[499] * 1000:.1f} ms, p99 {cut[989] * 1000:.1f} ms, p99.9 {cut[998] * 1000:.1f} ms, max {max(seconds) * 1000:.0f} ms"


def _held(seconds: Sequence[float]) -> str:
    return f"{min(seconds):.1f} to {max(seconds):.1f} s, median {median(seconds):.1f} s" if seconds else "none ended"


def _failed(tally: Tally) -> str:
    return ", ".join(f"{times} {what}" for what, times in tally.failures.most_common()) or "none"


def _memory(now: float, before: float, runners: int) -> str:
    return f"{now:.1f} MiB resident, {before:.1f} before: {(now - before) * 1024 / runners:.1f} KiB for each runner"


def _load() -> str:
    return " ".join(f"{one:.1f}" for one in os.getloadavg())


if __name__ == "__main__":
    sys.exit(main())
