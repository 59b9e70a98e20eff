"""Proofs that were there are looked for again: each month, before a scan, and what happens where one is gone."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from apviso.protocol.wire import OrganizationId
from apviso.server.scans.rechecks import Rounds, run_once
from apviso.server.stream.store import list_after
from apviso.server.targets.proof import GRACE, LOOK_EVERY
from tests.server.scans.situations import ENDED
from tests.server.verification.conftest import Applicant
from tests.support.clock import Clock
from tests.support.control_plane import Plane
from tests.support.names import NameServer
from tests.support.people import Runner
from tests.support.sites import Site

MONTH, SPREAD = LOOK_EVERY, LOOK_EVERY * 0.1


@pytest.fixture
async def verified(applicant: Applicant, names: NameServer) -> Applicant:
    """Control is proved by a record."""
    applicant.publish(names)
    (await applicant.verify("dns_txt")).raise_for_status()
    names.asked.clear()
    return applicant


def withdraw(names: NameServer, applicant: Applicant) -> None:
    del names.records[applicant.instructions["dnsTxt"]["recordName"], "TXT"]


def pass_by(clock: Clock, time: timedelta) -> None:
    clock.pass_by(seconds=time.total_seconds())


async def look(plane: Plane) -> int:
    return await run_once(plane.resources, Rounds())


async def stream_events(plane: Plane, applicant: Applicant, kind: str) -> list[dict[str, Any]]:
    async with plane.resources.database.reading() as work:
        return [event.data for event in await list_after(work, OrganizationId(applicant.organization.id), 0) if event.type == kind]


async def test_proof_is_looked_for_again_about_a_month_later(verified: Applicant, plane: Plane, clock: Clock, names: NameServer) -> None:
    pass_by(clock, MONTH - SPREAD - timedelta(seconds=1))
    early = await look(plane)
    pass_by(clock, 2 * SPREAD + timedelta(seconds=2))

    due, after = await look(plane), await look(plane)

    assert (early, due, after) == (0, 1, 0)
    assert [name for name, _ in names.asked] == [verified.instructions["dnsTxt"]["recordName"]]
    shown = await verified.shown()
    assert (shown["verified"], shown["verifiedAt"]) == (True, "2026-05-03T09:15:32Z")
    assert shown["verificationCheckedAt"] > shown["verifiedAt"]


async def test_proof_is_looked_for_ahead_of_a_scan_that_a_schedule_starts(
    verified: Applicant, plane: Plane, clock: Clock, names: NameServer
) -> None:
    pass_by(clock, timedelta(hours=20))
    at = clock.now + timedelta(hours=5)
    daily = {"targetId": verified.target["id"], "frequency": "daily", "hour": at.hour, "minute": at.minute}
    (await verified.organization.post("/schedules", daily)).raise_for_status()
    early = await look(plane)
    pass_by(clock, timedelta(hours=4, minutes=55))

    ahead, again = await look(plane), await look(plane)

    assert (early, ahead, again) == (0, 1, 0)
    assert [name for name, _ in names.asked] == [verified.instructions["dnsTxt"]["recordName"]]


async def test_proof_that_is_gone_is_told_each_day_and_lost_after_a_week(
    verified: Applicant, plane: Plane, clock: Clock, names: NameServer, runner: Runner
) -> None:
    withdraw(names, verified)
    pass_by(clock, MONTH + SPREAD)
    await look(plane)
    first = await verified.shown()
    readiness = (await verified.organization.get(f"/runners/readiness?targetId={verified.target['id']}")).json()

    days = 0
    while (await verified.shown())["verified"] and days < 10:
        days += 1
        clock.pass_by(days=1)
        assert await look(plane) == 1
        assert await look(plane) == 0

    last = await verified.shown()
    assert (first["verified"], "there is no such name" in first["verificationError"]) == (True, True)
    (check,) = [check for check in readiness["checks"] if check["code"] == "target_verified"]
    assert (check["ok"], "the proof is missing now; it is lost at" in check["message"]) == (True, True)
    assert days == GRACE.days
    assert (last["verified"], last["verifiedAt"], last["verificationMethod"]) == (False, None, None)
    assert "there is no such name" in last["verificationError"]
    told = ["target.verification_failing"] * 7 + ["target.verification_lost"]
    assert await verified.told() == ["target.created", "target.verified", *told]
    failing = await stream_events(plane, verified, "target.verification_failing")
    assert [event["targetId"] for event in failing] == [verified.target["id"]] * 7
    assert failing[0]["lostAt"] == failing[6]["lostAt"]
    assert len(await stream_events(plane, verified, "target.verification_lost")) == 1


async def test_proof_that_comes_back_is_kept(verified: Applicant, plane: Plane, clock: Clock, names: NameServer) -> None:
    withdraw(names, verified)
    pass_by(clock, MONTH + SPREAD)
    await look(plane)
    verified.publish(names)
    clock.pass_by(days=1)

    await look(plane)

    shown = await verified.shown()
    assert (shown["verified"], shown["verificationError"]) == (True, None)
    assert (await verified.told())[-1] == "target.verification_recovered"


async def test_look_that_a_process_did_not_survive_is_made_again(verified: Applicant, plane: Plane, clock: Clock, shop: Site) -> None:
    shop.slow.add("/.well-known/apviso-challenge.txt")
    pass_by(clock, MONTH + SPREAD)
    ended = Rounds()
    ended.end()

    given_up = await run_once(plane.resources, ended)
    at_once = await look(plane)
    clock.pass_by(hours=1)

    assert (given_up, at_once, await look(plane)) == (1, 0, 1)


async def test_look_under_way_at_the_end_is_given_up_and_notes_nothing(
    applicant: Applicant, plane: Plane, clock: Clock, shop: Site
) -> None:
    path = "/.well-known/apviso-challenge.txt"
    shop.serve(path, applicant.instructions["file"]["content"])
    (await applicant.verify("file")).raise_for_status()
    before = await applicant.shown()
    pass_by(clock, MONTH + SPREAD)
    shop.asked.clear()
    shop.slow.add(path)
    rounds = Rounds()
    round_ = asyncio.create_task(run_once(plane.resources, rounds))
    async with asyncio.timeout(5):
        while not shop.asked:
            await asyncio.wait([round_], timeout=0.01)

    rounds.end()
    async with asyncio.timeout(2):
        await round_

    assert await applicant.shown() == before


async def test_scan_within_a_day_of_the_last_look_asks_nobody(verified: Applicant, runner: Runner, names: NameServer, clock: Clock) -> None:
    clock.pass_by(hours=24)
    await runner.beat()

    started = await verified.organization.post("/scans", {"targetId": verified.target["id"]})

    assert (started.status_code, names.asked) == (201, [])


async def test_scan_later_than_that_looks_first_and_once(verified: Applicant, runner: Runner, names: NameServer, clock: Clock) -> None:
    clock.pass_by(hours=24, seconds=1)
    await runner.beat()
    body, headers = {"targetId": verified.target["id"]}, {"Idempotency-Key": "once"}

    answers = [await verified.organization.post("/scans", body, headers=headers) for _ in range(2)]

    assert [answer.status_code for answer in answers] == [201, 201]
    assert len(names.asked) == 1
    assert (await verified.shown())["verificationCheckedAt"] == "2026-05-04T09:15:33Z"


async def test_scan_with_the_proof_gone_starts_within_the_grace_and_is_refused_after_it(
    verified: Applicant, runner: Runner, names: NameServer, clock: Clock
) -> None:
    withdraw(names, verified)
    clock.pass_by(days=2)
    await runner.beat()
    start = {"targetId": verified.target["id"]}

    within = await verified.organization.post("/scans", start)
    job = await runner.claimed()
    await runner.run_whole(job)
    clock.pass_by(days=7)
    await runner.beat()
    after = await verified.organization.post("/scans", start)

    assert (within.status_code, after.status_code, after.json()["code"]) == (201, 403, "target_unverified")
    (check,) = [check for check in after.json()["readiness"]["checks"] if check["code"] == "target_verified"]
    assert not check["ok"]
    assert (await verified.told())[-2:] == ["target.verification_failing", "target.verification_lost"]


async def test_scan_that_waits_for_a_target_whose_proof_is_lost_ends(
    verified: Applicant, plane: Plane, runner: Runner, names: NameServer, clock: Clock
) -> None:
    scan_id = await _queued_on_a_last_day(verified, plane, names, clock)

    await look(plane)

    scan = (await verified.organization.get(f"/scans/{scan_id}")).json()["scan"]
    assert (scan["status"], scan["endReason"]) == ("cancelled", "canceled_by_policy")


async def test_scan_that_waits_when_the_requirement_is_switched_on_is_not_handed_out(
    applicant: Applicant, runner: Runner, plane: Plane
) -> None:
    acme = applicant.organization
    await acme.patch("/organization", {"requiresVerification": False})
    made = await acme.scan(applicant.target["id"])
    await acme.patch("/organization", {"requiresVerification": True})

    claimed = await runner.claim()

    scan = (await acme.get(f"/scans/{made['scan']['id']}")).json()["scan"]
    assert claimed.json()["job"] is None
    assert (scan["status"], scan["endReason"]) == ("cancelled", "canceled_by_policy")
    assert scan["statusReason"] == "Control of the target is not proved."


async def test_scan_that_runs_when_the_proof_is_lost_is_stopped(
    verified: Applicant, plane: Plane, runner: Runner, names: NameServer, clock: Clock
) -> None:
    scan_id = await _queued_on_a_last_day(verified, plane, names, clock)
    await runner.beat()
    job = await runner.claimed()
    (await runner.on_job(job, "preflight", ok=True)).raise_for_status()
    (await runner.on_job(job, "start")).raise_for_status()

    await look(plane)

    assert (await runner.on_job(job, "lease")).json()["cancelRequestedAt"] is not None
    await runner.on_job(job, "finish", **{**ENDED, "status": "cancelled", "endReason": "canceled_by_user"})
    scan = (await verified.organization.get(f"/scans/{scan_id}")).json()["scan"]
    assert (scan["status"], scan["endReason"]) == ("cancelled", "canceled_by_policy")


async def _queued_on_a_last_day(verified: Applicant, plane: Plane, names: NameServer, clock: Clock) -> str:
    """A scan of a target whose proof was missing for nearly a week when it was queued, an hour before this moment."""
    withdraw(names, verified)
    pass_by(clock, MONTH + SPREAD)
    await look(plane)
    pass_by(clock, GRACE - timedelta(hours=1))
    made = await verified.organization.scan(verified.target["id"])
    clock.pass_by(hours=1)
    return str(made["scan"]["id"])
