"""Several server processes on one PostgreSQL: what one does the others know at once, and each of them may die."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager

import httpx2
import pytest
from sqlalchemy import text

from apviso.server.db.engine import Database
from apviso.server.db.locks import HOUSE, MEMBERS
from apviso.server.settings import Settings
from apviso.server.signals import Signals
from tests.server.database.conftest import RealClock
from tests.server.database.fleet import at_work, check_record, until_acknowledged
from tests.server.scans.situations import queued_scan, until_parked
from tests.support.control_plane import Plane, running
from tests.support.people import Organization, Runner
from tests.support.postgres import PostgresServer

SECONDS = 30
AT_ONCE = 1.0


# ---- two in one process


@pytest.fixture
async def twin(frail: Plane, frail_settings: Settings) -> AsyncIterator[Plane]:
    """Another control plane on the same database."""
    async with running(frail_settings, RealClock()) as plane:
        yield plane


@asynccontextmanager
async def at_once() -> AsyncIterator[None]:
    """The body takes less than a second."""
    began = time.monotonic()
    async with asyncio.timeout(SECONDS):
        yield
    assert time.monotonic() - began < AT_ONCE


def through(plane: Plane, runner: Runner) -> Runner:
    """The same runner, whose calls the load balancer gives to another process."""
    return Runner(plane.client, runner.id, runner.token, runner.boot_id, runner.beats + 1)


async def test_scan_started_on_one_replica_is_claimed_on_another_at_once(frail: Plane, twin: Plane) -> None:
    acme = await frail.organization("Acme")
    runner = await acme.runner()
    waiting = asyncio.create_task(through(twin, runner).claim(wait=20))
    await until_parked(acme)

    case = await queued_scan(acme, runner)
    async with at_once():
        claimed = await waiting

    assert claimed.json()["job"]["scan"]["id"] == case.scan_id


async def test_cancel_on_one_replica_ends_a_wait_on_another_at_once(frail: Plane, twin: Plane) -> None:
    acme = await frail.organization("Acme")
    runner = await acme.runner(configuredConcurrency=2)
    case = await queued_scan(acme, runner)
    await case.running()
    waiting = asyncio.create_task(through(twin, runner).claim(wait=20, knownCancels=[]))
    await until_parked(acme)

    await case.cancel()
    async with at_once():
        told = await waiting

    assert told.json()["directives"]["cancelJobs"] == [case.job_id]


async def test_runner_revoked_on_one_replica_is_refused_on_another_at_once(frail: Plane, twin: Plane) -> None:
    acme = await frail.organization("Acme")
    runner = await acme.runner()
    waiting = asyncio.create_task(through(twin, runner).claim(wait=20))
    await until_parked(acme)

    (await acme.delete(f"/runners/{runner.id}")).raise_for_status()
    async with at_once():
        told = await waiting

    assert (told.status_code, told.json()["code"]) == (401, "runner_revoked")
    assert (await through(twin, runner).beat()).status_code == 401


async def test_list_on_one_replica_shows_what_another_was_told_within_a_flush(frail: Plane, twin: Plane) -> None:
    acme = await frail.organization("Acme")
    elsewhere = Organization(twin.client, acme.id, acme.key)
    runner = await acme.runner()
    before = (await elsewhere.get("/runners")).json()["runners"]

    # Nobody is told of this one: it says that the runner lives, and is written behind.
    (await runner.beat(health={"diskFreeBytes": 7 * 10**9})).raise_for_status()
    await _until_listed(elsewhere, health={"diskFreeBytes": 7 * 10**9})
    (await acme.post(f"/runners/{runner.id}/pause")).raise_for_status()
    async with at_once():
        await _until_listed(elsewhere, adminState="paused")

    assert [one["id"] for one in before] == [runner.id]


async def _until_listed(organization: Organization, **told: object) -> None:
    async with asyncio.timeout(SECONDS):
        while True:
            (shown,) = (await organization.get("/runners")).json()["runners"]
            if told == {name: shown[name] for name in told}:
                return
            await asyncio.sleep(0.05)


async def test_hints_reach_other_replicas_again_after_every_connection_was_killed(
    frail: Plane, twin: Plane, frail_server: PostgresServer
) -> None:
    acme = await frail.organization("Acme")
    runner = await acme.runner()
    ended = "SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity WHERE application_name = 'apviso'"
    await asyncio.to_thread(frail_server.execute, ended)
    await _until_together(frail_server, 2)
    waiting = asyncio.create_task(through(twin, runner).claim(wait=20))
    await until_parked(acme)

    await queued_scan(acme, runner)
    async with at_once():
        claimed = await waiting

    assert claimed.json()["job"] is not None


async def test_duties_are_done_by_one_replica_and_taken_over_when_it_ends(frail_settings: Settings) -> None:
    async with AsyncExitStack() as second_to_end:
        async with running(frail_settings, RealClock()) as first:
            second = await second_to_end.enter_async_context(running(frail_settings, RealClock()))
            assert [await plane.resources.replica.keeps_house() for plane in (first, second)] == [True, False]
            assert second.resources.amnesty_until == first.resources.amnesty_until

        assert await second.resources.replica.keeps_house()


# ---- three processes


class Turning(httpx2.AsyncBaseTransport):
    """Gives each request to the next address, as a load balancer does, and passes over those that do not answer."""

    def __init__(self, addresses: list[httpx2.URL]) -> None:
        self.addresses = addresses
        self._turn = 0
        self._inner = httpx2.AsyncHTTPTransport()

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        self._turn += 1
        for turn in range(self._turn, self._turn + 20):
            address = self.addresses[turn % len(self.addresses)]
            request.url = request.url.copy_with(host=address.host, port=address.port)
            try:
                answer = await self._inner.handle_async_request(request)
                # Who dies in the middle of an answer has not answered.
                return httpx2.Response(answer.status_code, headers=answer.headers, content=await answer.aread())
            except httpx2.TransportError:
                await asyncio.sleep(0.05)
        raise httpx2.ConnectError("nobody answers", request=request)

    async def aclose(self) -> None:
        await self._inner.aclose()


def _command(*words: str) -> list[str]:
    return [sys.executable, "-c", "from apviso.cli import main; main()", *words]


def _environment(settings: Settings) -> dict[str, str]:
    limits = {f"APVISO_{name}_PER_MINUTE": "1000000" for name in ("REQUESTS", "DAEMON_REQUESTS", "ENROLLMENTS")}
    return {**os.environ, **limits, "APVISO_DATA_DIR": str(settings.data_dir), "APVISO_DATABASE_URL": settings.database_url}


@contextmanager
def server_process(settings: Settings) -> Iterator[subprocess.Popen[str]]:
    log = (settings.data_dir / "servers.log").open("a")
    process = subprocess.Popen(_command("server", "--port", "0"), stdout=subprocess.PIPE, stderr=log, text=True, env=_environment(settings))
    try:
        yield process
    finally:
        process.kill()
        process.wait(SECONDS)
        log.close()
        assert process.stdout is not None
        process.stdout.close()


def _address(process: subprocess.Popen[str]) -> httpx2.URL:
    assert process.stdout is not None
    return httpx2.URL(process.stdout.readline().split()[-1])


async def _until_together(server: PostgresServer, number: int) -> None:
    """Until so many replicas listen, and one of them keeps house."""
    locks = f"SELECT count(*) FILTER (WHERE classid = {HOUSE}), count(*) FILTER (WHERE classid = {MEMBERS}) FROM pg_locks WHERE granted"
    async with asyncio.timeout(SECONDS):
        while tuple((await asyncio.to_thread(server.execute, locks))[0][0]) != (1, number):  # noqa: ASYNC110  # locks signal nobody
            await asyncio.sleep(0.05)


@pytest.mark.slow
async def test_three_replicas_killed_one_by_one_under_load_lose_and_double_nothing(
    frail_settings: Settings, frail_server: PostgresServer
) -> None:
    with ExitStack() as held:
        processes = [held.enter_context(server_process(frail_settings)) for _ in range(3)]
        addresses = [await asyncio.to_thread(_address, process) for process in processes]
        told = await asyncio.to_thread(
            subprocess.run, _command("admin", "bootstrap", "--json"), capture_output=True, check=True, env=_environment(frail_settings)
        )
        way_in = json.loads(told.stdout)
        transport = Turning(addresses)
        async with httpx2.AsyncClient(transport=transport, base_url="http://control-plane", timeout=SECONDS) as client:
            acme = Organization(client, way_in["organizationId"], way_in["apiKey"])
            async with at_work(acme, 6) as fleet:
                for process in processes[:2]:
                    process.send_signal(signal.SIGKILL)
                    await until_acknowledged(fleet, len(fleet.acknowledged) + 6)
                fourth = held.enter_context(server_process(frail_settings))
                addresses.append(await asyncio.to_thread(_address, fourth))
                processes[2].send_signal(signal.SIGKILL)
                await until_acknowledged(fleet, len(fleet.acknowledged) + 6)
        await _until_together(frail_server, 1)

    database = Database(frail_settings.database_url, RealClock(), Signals())
    await check_record(database, fleet)
    async with database.reading() as work:
        changes = await work.db.execute(text("SELECT type, count(*) FROM stream_events WHERE type LIKE 'runner.%' GROUP BY 1"))
        counted = {row[0]: row[1] for row in changes}
    await database.close()
    assert counted == {"runner.enrolled": 6, "runner.online": 6}
