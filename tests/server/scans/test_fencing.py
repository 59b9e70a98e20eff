"""No write without the lease: every call for a job by whoever does not hold it changes nothing."""

from __future__ import annotations

from typing import Any

import pytest

from tests.server.scans.situations import ENDED, Case, found, logged, pass_keeping_alive
from tests.support.clock import Clock
from tests.support.control_plane import Plane
from tests.support.in_turn import in_turn
from tests.support.people import Organization, Runner

STEPS: dict[str, dict[str, Any]] = {
    "lease": {},
    "preflight": {"ok": False},
    "start": {},
    "events": {"events": [logged(1)]},
    "finish": ENDED,
}


@pytest.fixture
async def lost(case: Case, acme: Organization, plane: Plane, clock: Clock) -> dict[str, Any]:
    """The job of a first attempt that was given up; the second one runs on another runner."""
    job = await case.running()
    clock.pass_by(seconds=300)
    await plane.settle()
    second = await acme.runner("runner-2")
    await pass_keeping_alive(clock, 30, case.runner, second)
    await case.running(second)
    return job


@pytest.fixture
async def ended(case: Case) -> dict[str, Any]:
    job = await case.runner.claimed()
    await case.runner.run_whole(job)
    return job


@pytest.fixture
async def stranger(acme: Organization) -> Runner:
    return await acme.runner("stranger")


@pytest.fixture
async def foreigner(other: Organization) -> Runner:
    return await other.runner("foreigner")


@in_turn("step", STEPS)
async def test_call_for_a_lost_attempt_is_refused_and_changes_nothing(case: Case, lost: dict[str, Any], step: str) -> None:
    before = await case.scan()

    refused = await case.runner.on_job(lost, step, **STEPS[step])

    assert (refused.status_code, refused.json()["code"]) == (409, "lease_lost")
    assert await case.scan() == before
    assert await case.log() == []


@in_turn("step", STEPS)
async def test_call_of_the_old_runner_in_the_name_of_the_new_attempt_is_refused(case: Case, lost: dict[str, Any], step: str) -> None:
    forged = {"job": {**lost["job"], "attempt": 2}}
    before = await case.scan()

    refused = await case.runner.on_job(forged, step, **STEPS[step])

    assert (refused.status_code, refused.json()["code"]) == (409, "lease_lost")
    assert await case.scan() == before


@in_turn("step", STEPS)
async def test_call_of_a_runner_that_never_had_the_job_finds_nothing(case: Case, job: dict[str, Any], stranger: Runner, step: str) -> None:
    refused = await stranger.on_job(job, step, **STEPS[step])

    assert (refused.status_code, refused.json()["code"]) == (404, "job_not_found")
    assert await case.status() == "running"


@in_turn("step", STEPS)
async def test_call_of_another_organizations_runner_finds_nothing(job: dict[str, Any], foreigner: Runner, step: str) -> None:
    refused = await foreigner.on_job(job, step, **STEPS[step])

    assert (refused.status_code, refused.json()["code"]) == (404, "job_not_found")


@in_turn("step", STEPS)
async def test_call_for_a_later_attempt_than_there_is_is_refused(case: Case, job: dict[str, Any], step: str) -> None:
    ahead = {"job": {**job["job"], "attempt": 2}}

    refused = await case.runner.on_job(ahead, step, **STEPS[step])

    assert (refused.status_code, refused.json()["code"]) == (409, "lease_lost")


@in_turn("step", [step for step in STEPS if step != "finish"])
async def test_call_for_an_ended_attempt_is_refused(case: Case, ended: dict[str, Any], step: str) -> None:
    refused = await case.runner.on_job(ended, step, **STEPS[step])

    assert (refused.status_code, refused.json()["code"]) == (409, "lease_lost")
    assert await case.ending() == ("completed", "completed")


@pytest.mark.parametrize("step", STEPS)
async def test_call_with_the_jobs_own_token_works_while_it_holds_the_lease(case: Case, step: str) -> None:
    job = await (case.runner.claimed() if step == "preflight" else case.running())

    answer = await _with_job_token(case, job).on_job(job, step, **STEPS[step])

    assert answer.status_code == 200


@in_turn("step", STEPS)
async def test_call_with_the_jobs_own_token_after_its_lease_is_told_so(case: Case, lost: dict[str, Any], step: str) -> None:
    refused = await _with_job_token(case, lost).on_job(lost, step, **STEPS[step])

    assert (refused.status_code, refused.json()["code"]) == (409, "lease_lost")


async def test_finish_repeated_with_the_jobs_own_token_is_answered_again(case: Case) -> None:
    job = await case.running()
    first = await _with_job_token(case, job).on_job(job, "finish", **ENDED)

    second = await _with_job_token(case, job).on_job(job, "finish", **ENDED)

    assert (first.status_code, second.status_code) == (200, 200)


async def test_job_token_for_another_job_or_call_is_the_wrong_credential(case: Case) -> None:
    job = await case.running()
    holder = _with_job_token(case, job)

    refused = [
        await holder.call("POST", "/jobs/another/lease", {"attempt": 1}),
        await holder.claim(),
        await holder.beat(),
        await holder.call("POST", "/token"),
        await holder.get("/targets"),
    ]

    assert [(answer.status_code, answer.json()["code"]) for answer in refused] == [(401, "wrong_credential")] * 5


async def test_late_events_are_kept_apart_from_the_scan(case: Case, lost: dict[str, Any], plane: Plane) -> None:
    await case.runner.on_job(lost, "events", events=[logged(1, "too late"), found(2)])

    async with plane.resources.database.reading() as work:
        rows = (await work.db.exec_driver_sql("SELECT attempt, events FROM superseded_events")).all()
    assert [row.attempt for row in rows] == [1]
    assert "too late" in str(rows[0].events)
    assert await case.log() == []
    assert (await case.organization.get("/findings")).json()["total"] == 0


async def test_late_events_beyond_the_bound_are_dropped(case: Case, lost: dict[str, Any], plane: Plane) -> None:
    for _ in range(201):
        await case.runner.on_job(lost, "events", events=[logged(1)])

    async with plane.resources.database.reading() as work:
        kept = (await work.db.exec_driver_sql("SELECT count(*) FROM superseded_events")).scalar()
    assert kept == 200


def _with_job_token(case: Case, job: dict[str, Any]) -> Runner:
    return Runner(case.organization.client, job["job"]["runnerId"], job["jobToken"])
