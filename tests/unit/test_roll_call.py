"""When records prove nothing, and when a runner has said what it runs."""

from __future__ import annotations

from typing import Any

import pytest

from apviso.protocol.daemon import Heartbeat
from apviso.protocol.wire import JobId
from apviso.server.db.roll_call import proves_completeness
from apviso.server.runners.roll_call import has_answered, unknown_jobs
from tests.unit.known import NOW, TIMERS, seconds

HELD = {(JobId("job-1"), 2)}


@pytest.mark.parametrize(("since", "expected"), [(0, True), (300, True), (301, False), (3600, False), (-300, True), (-3600, False)])
def test_records_prove_to_be_complete_while_an_attempt_could_not_have_outlived_them(since: float, expected: bool) -> None:
    assert proves_completeness(NOW - seconds(since), NOW, TIMERS) is expected


def beat(*jobs: tuple[str, int], **told: Any) -> Heartbeat:
    running = [{"jobId": job, "attempt": attempt} for job, attempt in jobs]
    return Heartbeat.model_validate({"bootId": "b", "beatSeq": 1, "version": "1", "currentJobs": len(jobs), "runningJobs": running, **told})


@pytest.mark.parametrize(
    ("said", "unknown", "expected"),
    [
        (beat(), [], True),
        (beat(("job-1", 2)), [], True),
        (beat(("job-1", 1)), ["job-1"], False),
        (beat(("job-1", 2), ("job-2", 1)), ["job-2"], False),
        (beat(("job-1", 2), currentJobs=2), [], False),
        (beat(currentJobs=1), [], False),
    ],
)
def test_runner_has_answered_when_it_names_all_it_runs_and_the_records_know_it(said: Heartbeat, unknown: list[str], expected: bool) -> None:
    assert (unknown_jobs(said, HELD), has_answered(said, HELD)) == (unknown, expected)
