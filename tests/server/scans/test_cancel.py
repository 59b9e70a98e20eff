"""Cancel in every state of a scan, and what wins when a cancel and an end meet."""

from __future__ import annotations

import asyncio

import pytest

from tests.server.scans.situations import ENDED, Case, pass_keeping_alive, until_in_line
from tests.support.clock import Clock
from tests.support.control_plane import Plane
from tests.support.people import Organization


async def test_cancel_of_a_queued_scan_ends_it_at_once(case: Case) -> None:
    answer = await case.organization.post(f"/scans/{case.scan_id}/cancel")

    assert answer.status_code == 200
    scan = answer.json()["scan"]
    assert (scan["status"], scan["endReason"], scan["finishedAt"]) == ("cancelled", "canceled_by_user", "2026-05-03T09:17:33Z")
    assert (await case.runner.claim()).json()["job"] is None


@pytest.mark.parametrize("is_started", [False, True])
async def test_cancel_of_a_held_scan_is_told_to_its_runner_on_every_way(case: Case, is_started: bool) -> None:
    job = await (case.running() if is_started else case.runner.claimed())

    await case.cancel()

    beat, claim, lease = await case.runner.beat(), await case.runner.claim(freeSlots=0), await case.runner.on_job(job, "lease")
    assert beat.json()["directives"]["cancelJobs"] == [case.job_id]
    assert claim.json()["directives"]["cancelJobs"] == [case.job_id]
    assert lease.json()["cancelRequestedAt"] == "2026-05-03T09:17:33Z"
    assert (await case.scan())["cancelRequestedAt"] == "2026-05-03T09:17:33Z"


async def test_cancel_that_the_runner_confirms_ends_as_cancelled(case: Case) -> None:
    job = await case.running()
    await case.cancel()

    await case.runner.on_job(job, "finish", status="cancelled", endReason="canceled_by_user", lastSeq=0)

    assert await case.ending() == ("cancelled", "canceled_by_user")
    assert (await case.runner.beat()).json()["directives"]["cancelJobs"] == []


async def test_cancel_that_meets_a_failure_ends_as_cancelled(case: Case) -> None:
    job = await case.running()
    await case.cancel()

    await case.runner.on_job(job, "finish", status="failed", endReason="disk_full", lastSeq=0)

    assert await case.ending() == ("cancelled", "canceled_by_user")


async def test_cancel_that_meets_a_completed_scan_changes_nothing(case: Case) -> None:
    job = await case.running()
    await case.cancel()

    await case.runner.on_job(job, "finish", **ENDED)

    assert await case.ending() == ("completed", "completed")


async def test_cancel_repeated_is_harmless(case: Case) -> None:
    await case.cancel()

    again = await case.organization.post(f"/scans/{case.scan_id}/cancel")

    assert (again.status_code, again.json()["scan"]["status"]) == (200, "cancelled")
    events = (await case.organization.get(f"/audit-events?subjectId={case.scan_id}")).json()["auditEvents"]
    assert [event["action"] for event in events] == ["scan.ended", "scan.created"]


async def test_cancel_of_a_completed_scan_is_refused(case: Case) -> None:
    await case.runner.run_whole(await case.runner.claimed())

    refused = await case.organization.post(f"/scans/{case.scan_id}/cancel")

    assert (refused.status_code, refused.json()["code"]) == (409, "scan_already_ended")


async def test_cancel_of_a_revoked_runners_scan_ends_as_cancelled(case: Case) -> None:
    await case.running()
    await case.cancel()

    await case.organization.delete(f"/runners/{case.runner.id}")

    assert await case.ending() == ("cancelled", "canceled_by_user")


async def test_cancel_of_another_organizations_scan_finds_nothing(case: Case, other: Organization) -> None:
    refused = await other.post(f"/scans/{case.scan_id}/cancel")

    assert (refused.status_code, refused.json()["code"]) == (404, "scan_not_found")
    assert await case.status() == "pending_runner"


async def test_cancel_of_a_scan_whose_runner_fell_silent_before_its_start_is_final(
    case: Case, acme: Organization, plane: Plane, clock: Clock
) -> None:
    await case.runner.claimed()
    await case.cancel()
    other = await acme.runner("runner-2")

    await pass_keeping_alive(clock, 61, other)
    await plane.settle()

    assert await case.ending() == ("cancelled", "canceled_by_user")
    assert (await other.claim()).json()["job"] is None


async def test_cancel_that_was_known_when_the_wait_began_does_not_end_it_again(case: Case, acme: Organization) -> None:
    await case.running()
    await case.runner.beat(configuredConcurrency=2)
    await case.cancel()

    waiting = asyncio.create_task(case.runner.claim(wait=20))
    await until_in_line(acme)
    done, _ = await asyncio.wait({waiting}, timeout=0.3)
    waiting.cancel()

    assert done == set()
