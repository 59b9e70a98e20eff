"""The lease by an injected clock: who may still touch the target, and until when."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from apviso.protocol.daemon import ClaimedJob, Job
from apviso.protocol.timers import Timers
from apviso.protocol.wire import JobId, RunnerId
from apviso.runner import lease as lease_module
from apviso.runner.attempts import Attempt, Roster, Stop
from apviso.runner.backoff import Patience
from apviso.runner.clock import Clock
from apviso.runner.connection import open_client
from apviso.runner.control_plane import ControlPlane
from apviso.runner.lease import LeaseKeeper, LeaseTerms
from apviso.runner.redaction import Redactor
from apviso.runner.refusals import IdentityRejected
from tests.runner.conftest import StartDaemon
from tests.runner.fake_control_plane import FakeControlPlane, FakeJob, Reply, job_body, problem
from tests.runner.target_application import TargetApplication


@dataclass
class HandClock:
    """A boot clock that the test moves."""

    seconds: float = 1000.0

    @property
    def clock(self) -> Clock:
        return Clock(boot=lambda: self.seconds)


@dataclass
class Scene:
    attempt: Attempt
    keeper: LeaseKeeper
    hand: HandClock
    permits: list[float] = field(default_factory=list)
    rejected: list[IdentityRejected] = field(default_factory=list)


@asynccontextmanager
async def scene(plane: FakeControlPlane) -> AsyncIterator[Scene]:
    job = FakeJob(job_body())
    plane.jobs[job.id] = job
    hand = HandClock()
    permits: list[float] = []
    rejected: list[IdentityRejected] = []
    attempt = Attempt(Job.model_validate(job.body), lease_sent=hand.seconds, claimed_at=datetime.now(UTC))

    async def on_renewed(seconds: float) -> None:
        permits.append(seconds)

    async with open_client(None) as http:
        control_plane = ControlPlane(plane.url, http, Redactor(), plane.token)
        terms = LeaseTerms(renew_after=0.05, self_stop_after=240)
        keeper = LeaseKeeper(attempt, control_plane, hand.clock, terms, on_renewed, rejected.append)
        yield Scene(attempt, keeper, hand, permits, rejected)


def claimed(lease_seconds: int) -> ClaimedJob:
    return ClaimedJob(id=JobId("j"), runner_id=RunnerId("r"), attempt=1, lease_seconds=lease_seconds, renew_after_seconds=30)


def test_terms_of_the_contract_stop_the_scan_240_seconds_after_the_last_accepted_renewal_was_sent() -> None:
    terms = LeaseTerms.of(claimed(120))

    assert terms == LeaseTerms(renew_after=30, self_stop_after=240)
    assert terms.remaining(lease_sent=1000, now=1239) == 1
    assert terms.remaining(lease_sent=1000, now=1240) == 0


@pytest.mark.parametrize(("lease_seconds", "self_stop"), [(10, 20), (120, 240), (600, 240)])
def test_terms_with_another_lease_never_stop_later_than_the_server_gives_up(lease_seconds: int, self_stop: float) -> None:
    assert LeaseTerms.of(claimed(lease_seconds)).self_stop_after == self_stop


def test_timers_leave_a_margin_between_the_killed_scan_and_the_next_attempt() -> None:
    timers = Timers()

    assert timers.self_stop_after + timers.kill_within < timers.stale_end_after


async def test_lease_is_renewed_at_once_and_then_regularly_and_moves_the_permit(plane: FakeControlPlane) -> None:
    async with scene(plane) as it:
        keeping = asyncio.ensure_future(it.keeper.keep())
        await plane.until(lambda: plane.jobs["job-1"].renewals >= 3)
        keeping.cancel()

    assert it.permits[0] == 240
    assert it.attempt.stop is None


async def test_lease_counts_from_when_the_renewal_was_sent_not_from_its_answer(plane: FakeControlPlane) -> None:
    async with scene(plane) as it:
        plane.script("/jobs/job-1/lease", Reply(delay=0.2, processed=True))
        keeping = asyncio.ensure_future(it.keeper.keep())
        await plane.until(lambda: len(plane.of("/jobs/job-1/lease")) == 1)
        it.hand.seconds += 50
        await plane.until(lambda: len(plane.of("/jobs/job-1/lease")) == 2)
        keeping.cancel()

    assert it.permits[0] == 190


async def test_lease_that_cannot_be_renewed_keeps_the_old_moment_and_stops_the_scan_in_time(plane: FakeControlPlane) -> None:
    async with scene(plane) as it:
        plane.script("/jobs/job-1/lease", *[problem(503, "overloaded", retryable=True)] * 3)
        keeping = asyncio.ensure_future(it.keeper.keep())
        await plane.until(lambda: len(plane.of("/jobs/job-1/lease")) == 1)
        keeping.cancel()
        it.keeper.secured.set()
        it.hand.seconds += 239.9
        watching = asyncio.ensure_future(it.keeper.watch())
        before = await asyncio.wait({watching}, timeout=0.05)
        it.hand.seconds += 0.2

        await asyncio.wait_for(watching, 5)

    assert before[1]
    assert it.attempt.stop is Stop.LEASE_EXPIRED


async def test_lease_after_a_sleep_of_the_machine_stops_the_scan_within_a_step(
    plane: FakeControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease_module, "STEP_SECONDS", 0.05)
    async with scene(plane) as it:
        watching = asyncio.ensure_future(it.keeper.watch())
        await asyncio.wait({watching}, timeout=0.1)

        it.hand.seconds += 3600
        await asyncio.wait_for(watching, 1)

    assert it.attempt.stop is Stop.LEASE_EXPIRED


@pytest.mark.parametrize("reply", [problem(409, "lease_lost"), problem(404, "job_not_found")])
async def test_lease_that_is_lost_silences_the_attempt(reply: Reply, plane: FakeControlPlane) -> None:
    async with scene(plane) as it:
        plane.script("/jobs/job-1/lease", reply)

        await asyncio.wait_for(it.keeper.keep(), 5)

    assert it.attempt.stop is Stop.LEASE_LOST
    assert it.attempt.is_silenced


def test_attempt_that_lost_its_lease_is_reported_until_it_has_ended() -> None:
    attempt, roster = Attempt(Job.model_validate(job_body()), lease_sent=0.0, claimed_at=datetime.now(UTC)), Roster(1)
    roster.add(attempt)

    attempt.halt(Stop.LEASE_LOST)
    stopping = roster.running_jobs()
    roster.remove(attempt)

    assert [(job.job_id, job.attempt) for job in stopping] == [(attempt.job_id, 1)]
    assert roster.running_jobs() == []


async def test_lease_answer_with_a_cancel_stops_the_scan(plane: FakeControlPlane) -> None:
    async with scene(plane) as it:
        plane.jobs["job-1"].cancelled = True
        keeping = asyncio.ensure_future(it.keeper.keep())

        await asyncio.wait_for(it.attempt.stopping.wait(), 5)
        keeping.cancel()

    assert it.attempt.stop is Stop.CANCELLED


async def test_lease_refused_because_the_runner_is_revoked_is_told(plane: FakeControlPlane) -> None:
    async with scene(plane) as it:
        plane.revoke()
        keeping = asyncio.ensure_future(it.keeper.keep())
        await plane.until(lambda: bool(plane.of("/jobs/job-1/lease")) and bool(it.rejected))
        keeping.cancel()

    assert it.rejected[0].is_revoked


async def test_scan_without_a_reachable_control_plane_stops_by_itself_and_says_so_later(
    plane: FakeControlPlane, start_daemon: StartDaemon, application: TargetApplication, tmp_path: Path
) -> None:
    hand = HandClock()
    job = await plane.add_job(FakeJob(job_body(scan_url=application.url, domain="lingers.localhost")))
    start_daemon(clock=hand.clock)
    await plane.until(lambda: any(message.startswith("pids") for message in job.messages()))
    plane.disconnect()

    hand.seconds += 241
    plane.reachable = True
    await plane.until(lambda: job.finish is not None, 40)

    assert job.finish is not None
    assert (job.finish["status"], job.finish["endReason"]) == ("failed", "runner_lost")


async def test_lease_of_a_claim_that_was_answered_late_counts_from_its_first_renewal(plane: FakeControlPlane) -> None:
    async with scene(plane) as it:
        it.hand.seconds += 500
        watching = asyncio.ensure_future(it.keeper.watch())
        before = await asyncio.wait({watching}, timeout=0.05)
        keeping = asyncio.ensure_future(it.keeper.keep())
        await plane.until(it.keeper.secured.is_set)
        after = await asyncio.wait({watching}, timeout=0.05)
        for task in (keeping, watching):
            task.cancel()

    assert (before[0], after[0]) == (set(), set())
    assert it.attempt.stop is None
    assert it.permits[0] == 240


@pytest.mark.parametrize(("asked", "shortest"), [("120", 9.0), ("4", 4.0)])
async def test_lease_renewal_is_tried_again_within_ten_seconds_whatever_the_server_asks(
    asked: str, shortest: float, plane: FakeControlPlane
) -> None:
    refusal = replace(problem(503, "overloaded", retryable=True), headers={"Retry-After": asked})

    async with scene(plane) as it:
        plane.script("/jobs/job-1/lease", refusal)
        seconds = await it.keeper.renew_once(Patience(lease_module.RENEWAL_BACKOFF))

    assert shortest <= seconds <= min(shortest + 1, 10)
