"""A PostgreSQL that goes away, comes back, kills connections and breaks deadlocks: what is repeated, and what is answered 503."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack
from typing import Any

import pytest
from sqlalchemy import text

from apviso.server.db import engine
from apviso.server.db.engine import Database
from apviso.server.errors import DatabaseUnavailable
from apviso.server.resources import Writing
from apviso.server.settings import Settings
from apviso.server.signals import Signals
from tests.server.database.fleet import OFFLINE_SECONDS, at_work, check_record, until_acknowledged
from tests.server.database.processes import Turning, address_of, impatient, organization_behind, server_process
from tests.support.clock import RealClock
from tests.support.control_plane import Plane, running
from tests.support.postgres import PostgresServer

SECONDS = 60
END_OF_EVERY_CONNECTION = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'apviso'"
OWN_PID = text("SELECT pg_backend_pid()")


def add_route(plane: Plane, route: Callable[..., Awaitable[dict[str, Any]]]) -> None:
    """A call of the test's own, with a transaction as all others have it."""
    plane.app.add_api_route("/probe", route, methods=["POST"])


async def test_request_that_lost_a_deadlock_is_run_again(frail: Plane) -> None:
    await frail.organization("a")
    await frail.organization("b")
    both, runs = asyncio.Barrier(2), list[str]()

    async def crossing(first: str, second: str, work: Writing) -> dict[str, Any]:
        runs.append(first)
        lock = text("SELECT id FROM organizations WHERE name = :name FOR UPDATE")
        await work.db.execute(lock, {"name": first})
        if len(runs) <= 2:
            await both.wait()
        await work.db.execute(lock, {"name": second})
        return {}

    add_route(frail, crossing)
    async with asyncio.timeout(SECONDS):
        answers = await asyncio.gather(frail.call("POST", "/probe?first=a&second=b"), frail.call("POST", "/probe?first=b&second=a"))

    assert [answer.status_code for answer in answers] == [200, 200]
    assert len(runs) == 3


async def test_request_whose_connection_died_before_the_commit_is_run_again(frail: Plane, frail_server: PostgresServer) -> None:
    await frail.organization("a")
    runs = list[int]()

    async def dying(work: Writing) -> dict[str, Any]:
        pid = await work.db.scalar(OWN_PID)
        await work.db.execute(text("UPDATE organizations SET name = name || 'x'"))
        runs.append(pid)
        if len(runs) == 1:
            await asyncio.to_thread(frail_server.execute, f"SELECT pg_terminate_backend({pid}, 5000)")
        return {"name": await work.db.scalar(text("SELECT name FROM organizations"))}

    add_route(frail, dying)
    answer = await frail.call("POST", "/probe")

    assert (answer.status_code, answer.json()) == (200, {"name": "ax"})
    assert len(runs) == 2


async def test_request_whose_commit_was_not_answered_is_refused_and_not_run_again(frail: Plane, frail_server: PostgresServer) -> None:
    await frail.organization("a")
    runs = list[int]()

    async def undecided(work: Writing) -> dict[str, Any]:
        pid = await work.db.scalar(OWN_PID)
        runs.append(pid)
        await asyncio.to_thread(frail_server.execute, f"SELECT pg_terminate_backend({pid}, 5000)")
        return {}

    add_route(frail, undecided)
    answer = await frail.call("POST", "/probe")

    told = answer.json()
    assert (answer.status_code, told["code"], told["retryable"]) == (503, "database_unavailable", True)
    assert int(answer.headers["retry-after"]) >= 1
    assert len(runs) == 1


async def test_lock_that_is_held_too_long_is_answered_in_bounded_time(frail: Plane) -> None:
    acme = await frail.organization("a")
    async with frail.resources.database.writing() as work, asyncio.timeout(SECONDS):
        await work.db.execute(text("SELECT id FROM organizations FOR UPDATE"))

        answer = await acme.post("/targets", {"domain": "localhost:3000", "visibility": "localhost"})

    assert (answer.status_code, answer.json()["code"]) == (503, "database_unavailable")


# Whoever was away for longer than a heartbeat takes has to give amnesty, or everyone would be offline at once.
@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "seconds", "replicas", "timers"),
    [(signal.SIGINT, 10, 1, {"restart_amnesty": 1}), (signal.SIGQUIT, 17, 2, {"restart_amnesty": 10, "offline_after": OFFLINE_SECONDS})],
    ids=["shut down", "crashed"],
)
async def test_database_restarted_under_servers_at_work_loses_and_doubles_nothing(
    frail_settings: Settings, frail_server: PostgresServer, how: signal.Signals, seconds: float, replicas: int, timers: dict[str, float]
) -> None:
    settings = impatient(frail_settings, **timers)
    with ExitStack() as held:
        processes = [held.enter_context(server_process(settings)) for _ in range(replicas)]
        transport = Turning([await address_of(process) for process in processes])
        async with organization_behind(transport, settings) as acme, at_work(acme) as fleet:
            await asyncio.to_thread(frail_server.be_away, seconds, how)
        assert [process.poll() for process in processes] == [None] * replicas

    assert fleet.statuses[503] > 0
    await check_record(settings, fleet)


@pytest.mark.slow
async def test_connections_that_are_killed_again_and_again_lose_nothing(frail_settings: Settings, frail_server: PostgresServer) -> None:
    settings = impatient(frail_settings, restart_amnesty=1, offline_after=OFFLINE_SECONDS)
    async with running(settings, RealClock()) as frail, at_work(await frail.organization("Acme")) as fleet:
        for _ in range(12):
            await until_acknowledged(fleet, len(fleet.acknowledged) + 1)
            await asyncio.to_thread(frail_server.execute, END_OF_EVERY_CONNECTION)

    await check_record(settings, fleet)


@pytest.fixture
async def alone(frail: Plane) -> AsyncIterator[Database]:
    """Connections that nobody else uses."""
    database = Database(frail.resources.settings.database_url, RealClock(), Signals())
    yield database
    await database.close()


async def backend(database: Database) -> int:
    """The database's process behind a connection."""
    async with database.reading() as work:
        return int((await work.db.execute(text("SELECT pg_backend_pid()"))).scalar_one())


async def test_connection_that_died_while_it_lay_unused_is_replaced_before_it_is_given_out(
    alone: Database, frail_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "ASK_AFTER_SECONDS", 0.0)
    before = await backend(alone)
    same = await backend(alone)
    await asyncio.to_thread(frail_server.execute, END_OF_EVERY_CONNECTION)

    after = await backend(alone)

    assert same == before
    assert after != before


async def test_connection_that_died_just_after_it_was_used_costs_one_try(alone: Database, frail_server: PostgresServer) -> None:
    before = await backend(alone)
    await asyncio.to_thread(frail_server.execute, END_OF_EVERY_CONNECTION)

    with pytest.raises(DatabaseUnavailable) as lost:
        await backend(alone)
    after = await backend(alone)

    assert lost.value.may_repeat
    assert after != before


@pytest.mark.slow
async def test_database_that_is_away_is_told_by_the_probe_and_found_again(frail: Plane, frail_server: PostgresServer) -> None:
    await asyncio.to_thread(frail_server.stop)
    try:
        process, database = await frail.call("GET", "/healthz"), await frail.call("GET", "/readyz")
    finally:
        await asyncio.to_thread(frail_server.start)

    assert (process.status_code, database.status_code) == (200, 503)
    assert (await frail.call("GET", "/readyz")).status_code == 200
