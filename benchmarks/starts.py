"""From the start of a control plane on an empty database to its first healthy answer, beside Prefect's."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks import peer_servers
from benchmarks.fleet import DURABLE
from benchmarks.measuring import Absent, Bar, Side, Told, interleaved, ratios
from benchmarks.peers import PREFECT, PeerAbsent
from benchmarks.plant import Plant
from tests.support.postgres import PostgresServer, postgres_server

ROUNDS = 5


async def rows() -> list[Told]:
    try:
        PREFECT.program("prefect")
    except PeerAbsent as why:
        return [Absent("G9: cold start", str(why))]
    with ExitStack() as stack:
        postgres = await asyncio.to_thread(lambda: stack.enter_context(postgres_server(**DURABLE)))
        ours, theirs = await interleaved(ROUNDS, _in_thread(_ours, postgres), _in_thread(_prefect, postgres))
    sides = [Side("ours, migrations included", ours, "s"), Side("Prefect 3.9.1, as it starts by itself", theirs, "s")]
    return [Bar("G9", "start on an empty PostgreSQL to the first healthy answer, of Prefect's", ratios(ours, theirs), 0.25, False, sides)]


def _in_thread(start: Callable[[PostgresServer], float], postgres: PostgresServer) -> Callable[[], Awaitable[float]]:
    return lambda: asyncio.to_thread(start, postgres)


def _ours(postgres: PostgresServer) -> float:
    with TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True) as folder, postgres.database() as database:
        fresh = Plant(Path(folder), database_url=postgres.url(database))
        with fresh.stack:
            began = time.monotonic()
            fresh.serve()
            return time.monotonic() - began


def _prefect(postgres: PostgresServer) -> float:
    with (
        TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True) as folder,
        postgres.database() as database,
        peer_servers.prefect_server(Path(folder), postgres.url(database), with_services=True) as server,
    ):
        return server.start_seconds
