"""Heartbeats a second and what each costs: ours on both databases beside a constant answer, Prefect's heartbeat, etcd's keepalive."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks import peer_servers
from benchmarks.asgi_constant import constant_server
from benchmarks.fleet import DURABLE
from benchmarks.load import CONNECTIONS, SEQUENCE, Load, Sent, family, request
from benchmarks.measuring import Absent, Bar, Side, Told, interleaved, ratios
from benchmarks.peers import PeerAbsent, system_program
from benchmarks.plant import PATIENT, Plant, plant
from benchmarks.seeding import Enrolled, said
from benchmarks.server_watch import MIB
from tests.support.postgres import PostgresServer, postgres_server

ROUNDS = 7
# More than connections, see load.lua. The turns of the others are longer than a runner may be silent, so silence is no news here.
RUNNERS = 16 * CONNECTIONS
SQLITE, POSTGRES, CONSTANT = "ours on SQLite", "ours on PostgreSQL", "a constant answer in plain ASGI, uvicorn"
PREFECT, ETCD = "Prefect 3.9.1, workers/heartbeat on PostgreSQL", "etcd, lease keepalive through its JSON gateway"
SHORT_GATEWAY = "etcd's native protocol is faster than its gateway; one node, nothing is replicated."


async def rows() -> list[Told]:
    try:
        system_program("wrk", "wrk")
    except PeerAbsent as why:
        return [Absent("G1, G2, G3, G5: heartbeats", str(why))]
    with ExitStack() as stack:
        loads, absent = await asyncio.to_thread(_start, stack)
        names = [load.name for load in loads]
        seen = dict(zip(names, await interleaved(ROUNDS, *loads), strict=True))
        resident = {load.name: sum(process.memory_info().rss for process in load.processes()) / MIB for load in loads}
    return [*_bars(seen), *_memory(resident), *absent]


def _memory(resident: dict[str, float]) -> list[Told]:
    if PREFECT not in resident:
        return []
    sides = [Side(name, [mib], "MiB") for name, mib in resident.items()]
    return [Bar("G9", "memory after this run, of Prefect's", [resident[POSTGRES] / resident[PREFECT]], 0.5, False, sides)]


def _start(stack: ExitStack) -> tuple[list[Load], list[Told]]:
    folder = Path(stack.enter_context(TemporaryDirectory(prefix="bench-")))
    postgres = stack.enter_context(postgres_server(**DURABLE))
    constant_port, constant_pid = stack.enter_context(constant_server())
    sqlite = _ours(SQLITE, stack.enter_context(plant(RUNNERS, PATIENT, have_spoken=True)), folder)
    on_postgres = stack.enter_context(plant(RUNNERS, PATIENT, postgres.url(stack.enter_context(postgres.database())), have_spoken=True))
    loads = [
        Load(CONSTANT, constant_port, lambda: family(constant_pid), sqlite.requests, folder),
        sqlite,
        _ours(POSTGRES, on_postgres, folder),
    ]
    absent: list[Told] = []
    for name, peer in ((PREFECT, _prefect(postgres, folder)), (ETCD, _etcd(folder))):
        try:
            loads.append(stack.enter_context(peer))
        except PeerAbsent as why:
            absent.append(Absent(name, str(why)))
    return loads, absent


def _ours(name: str, ready: Plant, folder: Path) -> Load:
    pid = ready.serve()
    return Load(name, ready.port, lambda: family(pid), [heartbeat(runner) for runner in ready.runners], folder)


def heartbeat(runner: Enrolled) -> bytes:
    return request("POST", "/api/runner/heartbeat", {"Authorization": f"Bearer {runner.token}"}, said(runner.number, SEQUENCE))


@contextmanager
def _prefect(postgres: PostgresServer, folder: Path) -> Iterator[Load]:
    with postgres.database() as database, peer_servers.prefect_server(folder, postgres.url(database)) as server:
        peer_servers.prefect_workers(server, CONNECTIONS)
        path = f"/api/work_pools/{peer_servers.POOL}/workers/heartbeat"
        bodies = [{"name": f"worker-{number}", "heartbeat_interval_seconds": 15} for number in range(CONNECTIONS)]
        yield Load(PREFECT, server.port, lambda: family(server.pid), [request("POST", path, {}, body) for body in bodies], folder)


@contextmanager
def _etcd(folder: Path) -> Iterator[Load]:
    with peer_servers.etcd_server(folder) as server:
        leases = peer_servers.etcd_leases(server, CONNECTIONS)
        requests = [request("POST", "/v3/lease/keepalive", {}, {"ID": lease}) for lease in leases]
        yield Load(ETCD, server.port, lambda: family(server.pid), requests, folder)


def _bars(seen: dict[str, list[Sent]]) -> list[Told]:
    ours, constant = seen[SQLITE], seen[CONSTANT]
    rate = {name: [one.per_second for one in rounds] for name, rounds in seen.items()}
    sides = [Side(name, values, "a second") for name, values in rate.items()]
    cpu = [Side(name, [one.cpu for one in rounds], "us of the server's processor") for name, rounds in seen.items()]
    worst = [Side(name, [one.p99 for one in rounds], "ms at p99") for name, rounds in seen.items()]
    what = f"{CONNECTIONS} connections"
    bars: list[Told] = [
        Bar("G1", f"heartbeats a second, of a constant answer's ({what}, SQLite)", ratios(rate[SQLITE], rate[CONSTANT]), 0.5, True, sides),
        Bar("G1", f"the same on PostgreSQL ({what})", ratios(rate[POSTGRES], rate[CONSTANT]), 0.5, True),
        Bar("G2", "processor of a heartbeat, of a constant answer's", _cpu_ratios(ours, constant), 2.0, False, cpu),
        Bar("G2", "the same on PostgreSQL", _cpu_ratios(seen[POSTGRES], constant), 2.0, False),
        Bar("G3", "heartbeats that failed on SQLite", [one.failed for one in ours], 0, False, unit="answers"),
        Bar("G3", "heartbeats that failed on PostgreSQL", [one.failed for one in seen[POSTGRES]], 0, False, unit="answers"),
    ]
    if PREFECT in seen:
        p99 = [theirs.p99 / mine.p99 for mine, theirs in zip(seen[POSTGRES], seen[PREFECT], strict=True)]
        failed = [Side("Prefect's answers that were no 2xx", [one.failed for one in seen[PREFECT]], "answers")]
        bars.append(Bar("G3", "heartbeats a second, of Prefect's on PostgreSQL", ratios(rate[POSTGRES], rate[PREFECT]), 100, True, failed))
        bars.append(Bar("G3", "Prefect's p99, of ours on PostgreSQL", p99, 20, True, worst))
    if ETCD in seen:
        bars.append(Bar("G5", f"heartbeats a second, of etcd's. {SHORT_GATEWAY}", ratios(rate[SQLITE], rate[ETCD]), 1.5, True))
    return bars


def _cpu_ratios(ours: list[Sent], others: list[Sent]) -> list[float]:
    return ratios([one.cpu for one in ours], [one.cpu for one in others])
