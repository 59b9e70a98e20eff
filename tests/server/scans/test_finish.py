"""The end of an attempt: once, with all its events, and the same answer to whoever asks again."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.server.scans.situations import ENDED, Case, logged, pass_keeping_alive
from tests.support.clock import Clock
from tests.support.in_turn import in_turn
from tests.support.people import Organization

FAILED = {"status": "failed", "lastSeq": 0}


async def test_finish_repeated_is_answered_as_before(case: Case, clock: Clock) -> None:
    job = await case.running()
    first = await case.runner.on_job(job, "finish", **ENDED)
    before = await case.scan()
    clock.pass_by(seconds=5)

    second = await case.runner.on_job(job, "finish", **ENDED)

    assert (first.status_code, second.status_code) == (200, 200)
    assert first.json() == second.json()
    assert await case.scan() == before


async def test_finish_many_times_at_once_ends_the_scan_once(case: Case) -> None:
    job = await case.running()

    answers = await asyncio.gather(*(case.runner.on_job(job, "finish", **ENDED) for _ in range(8)))

    assert {answer.status_code for answer in answers} == {200}
    events = (await case.organization.get(f"/audit-events?subjectId={case.scan_id}")).json()["auditEvents"]
    assert [event["action"] for event in events].count("scan.ended") == 1


async def test_finish_that_says_something_else_is_refused(case: Case) -> None:
    job = await case.running()
    await case.runner.on_job(job, "finish", **ENDED)

    refused = await case.runner.on_job(job, "finish", **FAILED, endReason="scanner_failed")

    assert (refused.status_code, refused.json()["code"]) == (409, "lease_lost")
    assert await case.ending() == ("completed", "completed")


@pytest.mark.parametrize(("last_seq", "expected"), [(2, 2), (5, 2)])
async def test_finish_before_all_events_are_stored_is_refused(case: Case, last_seq: int, expected: int) -> None:
    job = await case.running()
    await case.runner.on_job(job, "events", events=[logged(1)])

    refused = await case.runner.on_job(job, "finish", **{**ENDED, "lastSeq": last_seq})

    assert (refused.status_code, refused.json()["code"], refused.json()["expectedSeq"]) == (409, "events_missing", expected)
    assert await case.status() == "running"


async def test_finish_after_the_missing_events_came_is_taken(case: Case) -> None:
    job = await case.running()
    await case.runner.on_job(job, "finish", **{**ENDED, "lastSeq": 1})
    await case.runner.on_job(job, "events", events=[logged(1)])

    finished = await case.runner.on_job(job, "finish", **{**ENDED, "lastSeq": 1})

    assert (finished.status_code, finished.json()["status"]) == (200, "completed")


async def test_finish_as_completed_without_start_is_refused(case: Case) -> None:
    job = await case.runner.claimed()

    refused = await case.runner.on_job(job, "finish", **ENDED)

    assert (refused.status_code, refused.json()["code"]) == (409, "scan_not_started")
    assert await case.status() == "assigned"


async def test_finish_as_failed_without_start_is_taken(case: Case) -> None:
    job = await case.runner.claimed()

    finished = await case.runner.on_job(job, "finish", **FAILED, endReason="scope_refused", errorMessage="not in the local scope")

    assert finished.json()["status"] == "failed"
    assert await case.ending() == ("failed", "scope_refused")


@pytest.mark.parametrize(
    "reason",
    ["disk_full", "image_unavailable", "prepare_timeout", "runner_shutdown", "runner_lost", "engine_unavailable", "runner_revoked"],
)
async def test_finish_for_a_cause_of_the_infrastructure_is_retried(case: Case, reason: str) -> None:
    job = await case.running()

    finished = await case.runner.on_job(job, "finish", **FAILED, endReason=reason)

    assert finished.json()["status"] == "pending_runner"
    scan = await case.scan()
    assert (scan["status"], scan["endReason"], scan["statusReason"]) == ("pending_runner", None, reason)


@pytest.mark.parametrize(
    "reason",
    ["target_unreachable", "auth_failed", "scope_refused", "invalid_config", "image_refused", "out_of_memory", "scanner_failed",
     "run_timeout", "upload_incomplete", "internal_error"],
)  # fmt: skip
async def test_finish_for_any_other_cause_is_final(case: Case, reason: str) -> None:
    job = await case.running()

    await case.runner.on_job(job, "finish", **FAILED, endReason=reason)

    assert await case.ending() == ("failed", reason)


async def test_finish_for_the_infrastructure_three_times_fails(case: Case, acme: Organization, clock: Clock) -> None:
    second = await acme.runner("runner-2")
    for runner in (case.runner, second, case.runner):
        job = await case.running(runner)
        await runner.on_job(job, "finish", **FAILED, endReason="disk_full")
        await pass_keeping_alive(clock, 150, case.runner, second)

    assert await case.ending() == ("failed", "disk_full")


@in_turn(
    ("status", "reason"),
    [
        ("completed", "scanner_failed"),
        ("failed", "completed"),
        ("failed", "canceled_by_user"),
        ("cancelled", "runner_lost"),
        ("stale", "completed"),
        ("failed", "bored"),
    ],
)
async def test_finish_whose_reason_does_not_go_with_its_status_is_refused(
    case: Case, job: dict[str, Any], status: str, reason: str
) -> None:
    refused = await case.runner.on_job(job, "finish", status=status, endReason=reason, lastSeq=0)

    assert (refused.status_code, refused.json()["code"]) == (422, "invalid_fields")
    assert await case.status() == "running"


async def test_finish_without_coverage_is_partial(case: Case) -> None:
    job = await case.running()
    body: dict[str, Any] = {name: value for name, value in ENDED.items() if name != "coverage"}

    await case.runner.on_job(job, "finish", **body)

    assert (await case.scan())["coverage"] == {"complete": False, "reasons": ["coverage_not_reported"]}


async def test_start_repeated_is_answered_again(case: Case, clock: Clock) -> None:
    job = await case.running()
    clock.pass_by(seconds=5)

    again = await case.runner.on_job(job, "start")

    assert (again.status_code, again.json()["status"]) == (200, "running")
    assert (await case.scan())["startedAt"] == "2026-05-03T09:17:33Z"


async def test_renewed_lease_tells_its_end_and_no_cancel(case: Case, clock: Clock) -> None:
    job = await case.running()
    clock.pass_by(seconds=30)

    renewed = await case.runner.on_job(job, "lease")

    assert renewed.json() == {"leaseExpiresAt": "2026-05-03T09:20:03Z", "leaseSeconds": 120, "cancelRequestedAt": None}


async def test_finish_that_names_fewer_events_than_are_stored_is_taken(case: Case) -> None:
    job = await case.running()
    await case.runner.on_job(job, "events", events=[logged(1), logged(2)])

    told = await case.runner.on_job(job, "finish", **{**ENDED, "lastSeq": 1})

    assert told.status_code == 200
    assert len(await case.log()) == 2
