"""Several server processes on one PostgreSQL: what one does the others know at once, and each of them may die."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from datetime import datetime, timedelta

import pytest

from apviso.server.db.locks import HOUSE, MEMBERS
from apviso.server.settings import Settings
from tests.server.database.fleet import OFFLINE_SECONDS, at_work, check_record, until_acknowledged
from tests.server.database.processes import Turning, address_of, impatient, organization_behind, server_process
from tests.server.scans.situations import logged, queued_scan, until_in_line
from tests.server.stream.reading import Stream, following
from tests.support.clock import RealClock
from tests.support.control_plane import Plane, on_a_socket, running
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


class LaterClock(RealClock):
    """An hour ahead: what was just written is old."""

    def __call__(self) -> datetime:
        return super().__call__() + timedelta(hours=1)


async def test_roll_call_of_replicas_that_start_together_is_one(frail_settings: Settings) -> None:
    async with running(frail_settings, RealClock()) as before:
        acme = await before.organization("Acme")
        north, south = await acme.runner("north"), await acme.runner("south")
        case = await queued_scan(acme, north)
    async with running(frail_settings, LaterClock()) as first, running(frail_settings, LaterClock()) as second:
        for plane in (first, second):
            (await through(plane, north).beat()).raise_for_status()
        refused = [(await through(plane, north).claim()).json()["notAccepting"] for plane in (first, second)]
        (await through(second, south).beat()).raise_for_status()
        job = await through(first, north).claimed()

    assert refused == ["roll_call", "roll_call"]
    assert job["scan"]["id"] == case.scan_id


async def test_replica_that_joins_others_begins_no_roll_call_however_old_the_records_seem(frail: Plane, frail_settings: Settings) -> None:
    acme = await frail.organization("Acme")
    runner = await acme.runner()
    await queued_scan(acme, runner)

    async with running(frail_settings, LaterClock()):
        job = await runner.claimed()

    assert job is not None


async def test_scan_started_on_one_replica_is_claimed_on_another_at_once(frail: Plane, twin: Plane) -> None:
    acme = await frail.organization("Acme")
    runner = await acme.runner()
    waiting = asyncio.create_task(through(twin, runner).claim(wait=20))
    await until_in_line(acme)

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
    await until_in_line(acme)

    await case.cancel()
    async with at_once():
        told = await waiting

    assert told.json()["directives"]["cancelJobs"] == [case.job_id]


async def test_runner_revoked_on_one_replica_is_refused_on_another_at_once(frail: Plane, twin: Plane) -> None:
    acme = await frail.organization("Acme")
    runner = await acme.runner()
    waiting = asyncio.create_task(through(twin, runner).claim(wait=20))
    await until_in_line(acme)

    (await acme.delete(f"/runners/{runner.id}")).raise_for_status()
    async with at_once():
        told = await waiting

    assert (told.status_code, told.json()["code"]) == (401, "runner_revoked")
    assert (await through(twin, runner).beat()).status_code == 401


async def test_key_that_is_changed_or_revoked_on_one_replica_is_so_on_another_within_a_second(frail: Plane, twin: Plane) -> None:
    acme = await frail.organization("Acme")
    issued = (await acme.post("/api-keys", {"name": "ci", "scopes": ["runners:read"]})).json()
    elsewhere, path = Organization(twin.client, acme.id, issued["key"]), f"/api-keys/{issued['apiKey']['id']}"
    before = (await elsewhere.get("/runners")).status_code

    await acme.patch(path, {"scopes": ["targets:read"]})
    async with at_once():
        await _until_answered(elsewhere, 403)
    await acme.delete(path)
    async with at_once():
        await _until_answered(elsewhere, 401)

    assert before == 200


async def test_key_that_is_revoked_on_one_replica_is_refused_on_another_that_was_not_told(frail: Plane, twin: Plane) -> None:
    acme = await frail.organization("Acme")
    issued = (await acme.post("/api-keys", {"name": "ci", "scopes": ["runners:read"]})).json()
    elsewhere = Organization(twin.client, acme.id, issued["key"])
    before = (await elsewhere.get("/runners")).status_code

    frail.resources.signals.relay = None
    await acme.delete(f"/api-keys/{issued['apiKey']['id']}")
    await _until_answered(elsewhere, 401)

    assert before == 200


async def _until_answered(organization: Organization, status: int) -> None:
    async with asyncio.timeout(SECONDS):
        while True:
            if (await organization.get("/runners")).status_code == status:
                return
            # A call that is answered from memory would let nobody else have a turn.
            await asyncio.sleep(0.01)


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


async def revoke(acme: Organization, runner: Runner) -> None:
    (await acme.delete(f"/runners/{runner.id}")).raise_for_status()


async def rotate(_: Organization, runner: Runner) -> None:
    runner.token = (await runner.call("POST", "/token")).raise_for_status().json()["token"]
    # The first use of the new token ends the old one.
    (await runner.beat()).raise_for_status()


async def until_refused(runner: Runner) -> None:
    while (await runner.beat()).status_code != 401:  # noqa: ASYNC110  # forgetting signals nobody
        await asyncio.sleep(0.01)


async def until_remembered(plane: Plane, runner: Runner) -> None:
    """What another replica did with the runner may be heard of here a moment later, which makes it be forgotten once more."""
    async with at_once():
        while plane.resources.beats.find(runner.token.split("_")[1]) is None:
            (await runner.beat()).raise_for_status()


@pytest.mark.parametrize("end", [revoke, rotate])
async def test_token_ended_on_one_replica_is_forgotten_by_another_at_once(
    frail: Plane, twin: Plane, end: Callable[[Organization, Runner], Awaitable[None]]
) -> None:
    acme = await frail.organization("Acme")
    runner = await acme.runner()
    elsewhere = through(twin, runner)
    await until_remembered(twin, elsewhere)

    await end(acme, runner)

    async with at_once():
        await until_refused(elsewhere)


async def until_shown(stream: Stream, kind: str, scan_id: str) -> None:
    while True:
        event = await stream.next()
        if (event.type, event.data.get("scanId", scan_id)) == (kind, scan_id):
            return


async def test_events_on_one_replica_are_shown_by_a_stream_on_another_at_once(frail: Plane, twin: Plane) -> None:
    acme = await frail.organization("Acme")
    runner = await acme.runner()
    async with on_a_socket(twin) as wire, following(wire, "/api/v1/events", acme.key) as stream:
        await stream.connected()
        # Each of them right after the stream has looked: by itself it looks again 2 s later.
        for _ in range(3):
            case = await queued_scan(acme, runner)
            async with at_once():
                await until_shown(stream, "scan.created", case.scan_id)


async def test_log_on_one_replica_is_shown_by_a_stream_on_another_at_once(frail: Plane, twin: Plane) -> None:
    acme = await frail.organization("Acme")
    case = await queued_scan(acme, await acme.runner())
    job = await case.running()
    async with on_a_socket(twin) as wire, following(wire, f"/api/v1/scans/{case.scan_id}/log", acme.key) as stream:
        for number in range(1, 4):
            (await case.runner.on_job(job, "events", events=[logged(number)])).raise_for_status()
            async with at_once():
                await until_shown(stream, "log", case.scan_id)


async def test_hints_reach_other_replicas_again_after_every_connection_was_killed(
    frail: Plane, twin: Plane, frail_server: PostgresServer
) -> None:
    acme = await frail.organization("Acme")
    runner = await acme.runner()
    ended = "SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity WHERE application_name = 'apviso'"
    await asyncio.to_thread(frail_server.execute, ended)
    await _until_together(frail_server, 2)
    waiting = asyncio.create_task(through(twin, runner).claim(wait=20))
    await until_in_line(acme)

    await queued_scan(acme, runner)
    async with at_once():
        claimed = await waiting

    assert claimed.json()["job"] is not None


async def test_duties_are_done_by_one_replica_and_taken_over_when_it_ends(frail_settings: Settings) -> None:
    async with AsyncExitStack() as second_to_end:
        async with running(frail_settings, RealClock()) as first:
            second = await second_to_end.enter_async_context(running(frail_settings, RealClock()))
            assert [await plane.resources.replica.keeps_house() for plane in (first, second)] == [True, False]
            assert [plane.resources.replica.is_keeping_house for plane in (first, second)] == [True, False]
            assert second.resources.amnesty_until == first.resources.amnesty_until

        assert await second.resources.replica.keeps_house()


# ---- three processes


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
    settings = impatient(frail_settings, restart_amnesty=1, offline_after=OFFLINE_SECONDS)
    with ExitStack() as held:
        processes = [held.enter_context(server_process(settings)) for _ in range(3)]
        transport = Turning([await address_of(process) for process in processes])
        async with organization_behind(transport, settings) as acme, at_work(acme, 6) as fleet:
            for process in processes[:2]:
                process.send_signal(signal.SIGKILL)
                await until_acknowledged(fleet, len(fleet.acknowledged) + 6)
            fourth = held.enter_context(server_process(settings))
            transport.addresses.append(await address_of(fourth))
            processes[2].send_signal(signal.SIGKILL)
            await until_acknowledged(fleet, len(fleet.acknowledged) + 6)
        await _until_together(frail_server, 1)

    await check_record(settings, fleet)
