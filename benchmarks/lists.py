"""Lists of runners: a page beside Prefect's list of workers, and the whole fleet beside an encoder that does nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil

from benchmarks import peer_servers
from benchmarks.connection import Connection
from benchmarks.fleet import DURABLE
from benchmarks.heartbeats import heartbeat
from benchmarks.helper_process import helper_process
from benchmarks.load import Load, each_once, family, request
from benchmarks.measuring import Absent, Bar, Side, Told, interleaved, ratios
from benchmarks.peers import ENCODERS, PeerAbsent, system_program
from benchmarks.plant import PATIENT, UNLIMITED, Plant, plant
from tests.support.postgres import PostgresServer, postgres_server

ROUNDS = 2
PAGE, FLEET = 200, 10_000
# Whose heartbeats have come since the list before: those of one and a half seconds in such a fleet.
BEATING = 1_000
# GETs of the whole fleet in one round: the system counts processor time in hundredths of a second.
TIMES = 10
SECONDS = 120.0
PREFECT = f"Prefect 3.9.1, workers/filter limit {PAGE} on PostgreSQL"


async def rows() -> list[Told]:
    return [*await _pages(), *await _fleets()]


async def _pages() -> list[Told]:
    what = f"G4: page of {PAGE} runners"
    with ExitStack() as stack:
        try:
            system_program("wrk", "wrk")
            ours, theirs = await asyncio.to_thread(_start_pages, stack)
        except PeerAbsent as why:
            return [Absent(what, str(why))]
        mine, other = await interleaved(ROUNDS, ours, theirs)
    rates = [[one.per_second for one in sent] for sent in (mine, other)]
    told = zip((ours, theirs), (mine, other), rates, strict=True)
    sides = [Side(f"{load.name}, {sent[0].bytes / 1024:.0f} KiB", rate, "a second") for load, sent, rate in told]
    what = f"pages of {PAGE} runners a second (all of an organization), of Prefect's"
    return [
        Bar(
            "G4",
            f"pages of {PAGE} runners a second, of Prefect's (all of an organization that has {PAGE})",
            ratios(*rates),
            60,
            True,
            sides,
        ),
        Bar("G4", "pages that failed", [one.failed for one in mine], 0, False, unit="answers"),
    ]


def _start_pages(stack: ExitStack) -> tuple[Load, Load]:
    folder = Path(stack.enter_context(TemporaryDirectory(prefix="bench-")))
    postgres = stack.enter_context(postgres_server(**DURABLE))
    theirs = stack.enter_context(_prefect(postgres, folder))
    ready = stack.enter_context(plant(PAGE, UNLIMITED, postgres.url(stack.enter_context(postgres.database()))))
    pid = ready.serve()
    beats = [heartbeat(runner) for runner in ready.runners]
    wanted = [request("GET", "/api/v1/runners", {"X-API-Key": ready.api_key})]
    return Load("ours on PostgreSQL", ready.port, lambda: family(pid), wanted, folder, before=beats), theirs


@contextmanager
def _prefect(postgres: PostgresServer, folder: Path) -> Iterator[Load]:
    with postgres.database() as database, peer_servers.prefect_server(folder, postgres.url(database)) as server:
        peer_servers.prefect_workers(server, PAGE)
        wanted = [request("POST", f"/api/work_pools/{peer_servers.POOL}/workers/filter", {}, {"limit": PAGE})]
        yield Load(PREFECT, server.port, lambda: family(server.pid), wanted, folder)


async def _fleets() -> list[Told]:
    """One list on PostgreSQL, of runners that are all online."""
    with ExitStack() as stack:
        try:
            python = ENCODERS.program("python")
        except PeerAbsent as why:
            return [Absent(f"G10: list of {FLEET} runners", str(why))]
        postgres = await asyncio.to_thread(lambda: stack.enter_context(postgres_server(**DURABLE)))
        database = stack.enter_context(postgres.database())
        ready = await asyncio.to_thread(lambda: stack.enter_context(plant(FLEET, PATIENT, postgres.url(database), have_spoken=True)))
        pid = await asyncio.to_thread(ready.serve)
        async with asyncio.timeout(SECONDS * 5):
            fleet = _Fleet(ready, pid)
            sample = await fleet.list_once()
            file = ready.folder / "runners.json"
            file.write_bytes(sample)
            script = str(Path(__file__).with_name("plain_lists.py"))
            async with helper_process(python, script, str(file), str(postgres.folder), database) as plain:
                sent = await interleaved(ROUNDS, fleet.again, fleet.after_change, plain.asks("encode"), plain.asks("select"))
    again, changed, encoded, selected = sent
    sides = [
        Side(f"ours, GET of {FLEET} runners ({len(sample) / 1e6:.1f} MB), nothing has changed since the last", again, "ms of processor"),
        Side(f"ours, after {BEATING} heartbeats of as many of them", changed, "ms of processor"),
        Side("msgspec.encode of equal Structs", encoded, "ms of processor"),
        Side("SELECT with asyncpg, Structs, msgspec.encode", selected, "ms of processor, without the database's"),
    ]
    return [
        Bar("G10", "processor of a whole list, of msgspec.encode of the same", ratios(again, encoded), 2.0, False, sides),
        Bar("G10", "of SELECT and encode", ratios(again, selected), 1 / 8, False),
    ]


class _Fleet:
    """Milliseconds of the server's processor for one GET of everyone."""

    def __init__(self, ready: Plant, pid: int) -> None:
        self._ready, self._process = ready, psutil.Process(pid)
        self._beats = [heartbeat(runner) for runner in ready.runners[:BEATING]]
        self._wanted = request("GET", "/api/v1/runners", {"X-API-Key": ready.api_key})
        self._sequence = 10**9
        self._connection: Connection | None = None

    async def list_once(self) -> bytes:
        await self._beat()
        return await self._get()

    async def again(self) -> float:
        await self._get()
        return await self._spent(TIMES)

    async def after_change(self) -> float:
        await self._beat()
        return await self._spent(1)

    async def _spent(self, times: int) -> float:
        before = self._process.cpu_times()
        for _ in range(times):
            await self._get()
        after = self._process.cpu_times()
        return (after.user + after.system - before.user - before.system) / times * 1000

    async def _beat(self) -> None:
        self._sequence += 1
        await each_once(self._ready.port, self._beats, self._sequence)
        # What was answered from memory is written within a second.
        await asyncio.sleep(2)

    async def _get(self) -> bytes:
        if self._connection is None or not self._connection.is_open:
            self._connection = await Connection.open(self._ready.port, "127.0.0.1")
        answer = await self._connection.ask(self._wanted, SECONDS)
        assert answer.status == 200, answer.body[:500]
        return answer.body
