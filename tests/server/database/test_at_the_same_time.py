"""What many do at the same time: limits hold, one wins, nobody is judged by what has changed meanwhile, streams miss nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta

import httpx2
import pytest
from sqlalchemy import text, update

from apviso.protocol.wire import OrganizationId, RunnerId
from apviso.server.db.engine import append_news
from apviso.server.db.schema import ScanRow
from apviso.server.runners import store as runners
from apviso.server.scans import store as scans
from apviso.server.signals import jobs_topic
from apviso.server.stream import store as stream
from tests.server.scans.situations import pass_keeping_alive, queued_scan, until_in_line
from tests.support.clock import Clock
from tests.support.control_plane import Plane
from tests.support.people import Organization, Runner, register

SECONDS = 20


def _codes(answers: Sequence[httpx2.Response]) -> dict[int, int]:
    """How often each status was answered."""
    statuses = [answer.status_code for answer in answers]
    return {status: statuses.count(status) for status in sorted(set(statuses))}


async def duties_begun(plane: Plane) -> asyncio.Task[None]:
    """Timed duties that have begun, and wait for what the caller has locked, or have passed over it."""
    duties = asyncio.create_task(plane.settle())
    if plane.resources.database.engine.dialect.name == "postgresql":
        async with asyncio.timeout(SECONDS):
            while not (duties.done() or await _is_somebody_waiting(plane)):  # noqa: ASYNC110  # a lock signals nobody
                await asyncio.sleep(0.01)
    return duties


async def _until_somebody_waits(plane: Plane) -> None:
    async with asyncio.timeout(SECONDS):
        while not await _is_somebody_waiting(plane):  # noqa: ASYNC110  # a lock signals nobody
            await asyncio.sleep(0.01)


async def _is_somebody_waiting(plane: Plane) -> bool:
    async with plane.resources.database.reading() as work:
        return bool(await work.db.scalar(text("SELECT count(*) FROM pg_locks WHERE NOT granted")))


async def test_enrollments_at_once_keep_the_runner_limit(acme: Organization) -> None:
    tokens = [await acme.enrollment_token() for _ in range(13)]

    answers = await asyncio.gather(*(register(acme.client, token) for token in tokens))

    assert _codes(answers) == {201: 10, 402: 3}


async def test_claims_at_once_keep_the_concurrency_limit(acme: Organization) -> None:
    fleet = [await acme.runner(f"runner-{number}", configuredConcurrency=3) for number in range(4)]
    for _ in range(12):
        await queued_scan(acme, fleet[0])

    claims = [runner.claim(freeSlots=3) for runner in fleet for _ in range(3)]
    answers = await asyncio.gather(*claims)

    given = [answer.raise_for_status().json()["job"] for answer in answers]
    assert len({job["job"]["id"] for job in given if job}) == len([job for job in given if job]) <= 10


async def test_claims_of_one_runner_at_once_keep_its_slots(acme: Organization, runner: Runner) -> None:
    for _ in range(3):
        await queued_scan(acme, runner)

    answers = await asyncio.gather(*(runner.claim() for _ in range(6)))

    assert sum(answer.raise_for_status().json()["job"] is not None for answer in answers) == 1


async def test_claims_with_one_nonce_at_once_get_one_job(acme: Organization, runner: Runner) -> None:
    await queued_scan(acme, runner)
    await queued_scan(acme, runner)

    answers = await asyncio.gather(*(runner.claim("the-same") for _ in range(5)))

    assert len({answer.raise_for_status().json()["job"]["job"]["id"] for answer in answers}) == 1


async def test_scans_of_one_target_started_at_once_are_one(acme: Organization, runner: Runner) -> None:
    target = await acme.target()

    answers = await asyncio.gather(*(acme.post("/scans", {"targetId": target["id"]}) for _ in range(6)))

    assert _codes(answers) == {201: 1, 409: 5}
    assert {answer.json()["code"] for answer in answers if answer.status_code == 409} == {"scan_already_active"}


async def test_target_deleted_while_a_scan_of_it_starts_is_gone_or_scanned(acme: Organization, runner: Runner) -> None:
    for number in range(6):
        target = await acme.target(f"localhost:{3500 + number}")

        started, deleted = await asyncio.gather(acme.post("/scans", {"targetId": target["id"]}), acme.delete(f"/targets/{target['id']}"))

        assert (started.status_code, deleted.status_code) in {(201, 409), (404, 204)}


async def test_enrollment_token_exchanged_at_once_makes_one_runner(acme: Organization) -> None:
    token = await acme.enrollment_token()

    answers = await asyncio.gather(*(register(acme.client, token) for _ in range(5)))

    assert _codes(answers) == {201: 1, 409: 4}


async def test_create_repeated_at_once_under_one_key_is_done_once(acme: Organization) -> None:
    body, headers = {"domain": "localhost:3000", "visibility": "localhost"}, {"Idempotency-Key": "the-same"}

    answers = await asyncio.gather(*(acme.post("/targets", body, headers=headers) for _ in range(5)))

    assert len({answer.raise_for_status().json()["target"]["id"] for answer in answers}) == 1


async def test_token_rotated_twice_at_once_leaves_one_new_token(runner: Runner) -> None:
    old = runner.token
    answers = await asyncio.gather(*(runner.call("POST", "/token") for _ in range(4)))

    new = [answer.raise_for_status().json()["token"] for answer in answers]
    alive = []
    for token in new:
        runner.token = token
        alive.append((await runner.beat()).status_code)

    assert sorted(alive) == [200, 401, 401, 401]
    assert old not in new


async def test_heartbeat_that_comes_while_runners_are_watched_is_seen(
    plane: Plane, clock: Clock, acme: Organization, runner: Runner
) -> None:
    await pass_keeping_alive(clock, 135, runner)
    clock.pass_by(seconds=61)

    async with plane.resources.database.writing() as work:
        await runners.lock(work, RunnerId(runner.id))
        duties = await duties_begun(plane)
        heard = {"last_heartbeat_at": work.now, "last_contact_at": work.now}
        await runners.edit(work, OrganizationId(acme.id), RunnerId(runner.id), **heard)
    await duties

    async with plane.resources.database.reading() as work:
        intervals = await runners.list_intervals(work, RunnerId(runner.id), clock.now - timedelta(seconds=60))
    assert "offline" not in [interval.status for interval in intervals]


async def test_lease_renewed_while_timers_are_looked_at_is_kept(plane: Plane, clock: Clock, acme: Organization, runner: Runner) -> None:
    await pass_keeping_alive(clock, 135, runner)
    case = await queued_scan(acme, runner)
    job = await case.running()
    clock.pass_by(seconds=301)

    async with plane.resources.database.writing() as work:
        scan = await scans.get_locked(work, OrganizationId(acme.id), case.scan_id)
        attempt = await scans.find_live(work, scan)
        assert attempt is not None
        until = work.now + plane.resources.settings.timers.lease
        await scans.edit_attempt(work, attempt, renewed_at=work.now, lease_expires_at=until)
        duties = await duties_begun(plane)
    await duties

    assert await case.status() == "running"
    assert (await runner.on_job(job, "lease")).status_code == 200


async def test_events_of_transactions_that_overlap_are_numbered_as_they_commit(plane: Plane, acme: Organization) -> None:
    database, seen, last = plane.resources.database, list[int](), 0

    async def tell(number: int) -> None:
        async with database.writing() as work:
            stream.publish(work, OrganizationId(acme.id), "test.event", number=number)
            for _ in range(number % 7):
                await work.db.execute(text("SELECT 1"))

    telling = asyncio.gather(*(tell(number) for number in range(60)))
    async with asyncio.timeout(SECONDS):
        while len(seen) < 60:
            async with database.reading() as work:
                for event in await stream.list_after(work, OrganizationId(acme.id), last):
                    last = event.id
                    seen += [event.data["number"]] if event.type == "test.event" else []
    await telling

    assert sorted(seen) == list(range(60))


async def _until_it_waits(plane: Plane, task: asyncio.Task[None]) -> None:
    """Until the task waits for a lock, or has ended without one."""
    while not (task.done() or await _is_somebody_waiting(plane)):  # noqa: ASYNC110  # locks signal nobody
        await asyncio.sleep(0.01)


async def test_event_that_commits_late_is_not_passed_by_one_that_was_numbered_later(plane: Plane, acme: Organization) -> None:
    database, organization_id = plane.resources.database, OrganizationId(acme.id)

    async def tell(word: str) -> None:
        async with database.writing() as work:
            stream.publish(work, organization_id, "test.event", word=word)

    async def told() -> list[str]:
        async with database.reading() as work:
            return [event.data["word"] for event in await stream.list_after(work, organization_id, 0) if event.type == "test.event"]

    async with database.writing() as work, asyncio.timeout(SECONDS):
        stream.publish(work, organization_id, "test.event", word="first")
        await append_news(work)
        second = asyncio.create_task(tell("second"))
        if database.engine.dialect.name == "postgresql":
            await _until_it_waits(plane, second)
        before = await told()
    await second

    assert before == []
    assert await told() == ["first", "second"]


async def test_claim_that_comes_while_others_are_served_is_not_told_what_was_seen_before_it_came(
    plane: Plane, acme: Organization, runner: Runner, clock: Clock
) -> None:
    if plane.resources.database.engine.dialect.name != "postgresql":
        pytest.skip("readers of SQLite wait for nobody, so that nothing can be made to happen while one looks")
    second = await acme.runner("second")
    case = await queued_scan(acme, runner, runnerId=second.id)
    await _put_off(plane, clock.now + timedelta(hours=1))

    async with plane.resources.database.writing() as work:
        # The look has read which scans wait, and waits for the license.
        await work.db.execute(text("LOCK TABLE licenses IN ACCESS EXCLUSIVE MODE"))
        early = asyncio.create_task(runner.claim())
        await _until_somebody_waits(plane)
        await _put_off(plane, clock.now)
        plane.resources.signals.send(jobs_topic(acme.id))
        late = asyncio.create_task(second.claim())
        await until_in_line(acme, 2)
    answers = [(await asyncio.wait_for(task, SECONDS)).json()["job"] for task in (early, late)]

    assert answers[0] is None
    assert answers[1]["scan"]["id"] == case.scan_id


async def _put_off(plane: Plane, until: datetime) -> None:
    """Nobody may claim a scan before then."""
    async with plane.resources.database.writing() as work:
        await work.db.execute(update(ScanRow).values(not_before=until))
