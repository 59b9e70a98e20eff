"""When a runner fails its scans at once, when that is its own fault, and what shows that it works again."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from apviso.protocol.runners import Quarantine
from apviso.protocol.states import COMPLETED_REASONS, AdminState, EndReason
from apviso.protocol.wire import ScanId, TargetId
from apviso.server.scans.breaker import DOUBTFUL, MOST_EVIDENCE, OWN, Ending, Sign, failures_in_a_row, has_passed, quarantine_for, sign_of
from tests.unit.known import NOW, TIMERS, runner, seconds


def ended(ago: float = 0, lasted: float = 5, reason: EndReason = EndReason.IMAGE_UNAVAILABLE, **differences: Any) -> Ending:
    """An attempt that ended so many seconds ago, on a target of its own, and was started a second after it was claimed."""
    at = NOW - seconds(ago)
    told: dict[str, Any] = {
        "scan_id": ScanId(f"scan-{ago}"),
        "attempt": 1,
        "target_id": TargetId(f"target-{ago}"),
        "message": "No such host.",
        "assigned_at": at - seconds(lasted),
        "started_at": at - seconds(lasted - 1),
    }
    return Ending(reason=reason, ended_at=at, **{**told, **differences})


def quarantine(number: int = 1, since: datetime = NOW - timedelta(hours=1)) -> Quarantine:
    return Quarantine(since=since, until=since + seconds(900), number=number, failures=[])


@pytest.mark.parametrize("reason", EndReason)
def test_ending_within_moments_blames_the_runner_for_its_own_causes_alone(reason: EndReason) -> None:
    expected = Sign.WORKS if reason in COMPLETED_REASONS else Sign.FAILS if reason in OWN | DOUBTFUL else None

    assert sign_of(ended(reason=reason), TIMERS) is expected


@pytest.mark.parametrize("reason", EndReason)
def test_ending_after_a_long_scan_speaks_for_the_runner_unless_its_own_cause_ended_it(reason: EndReason) -> None:
    expected = None if reason in OWN else Sign.WORKS

    assert sign_of(ended(reason=reason, lasted=600), TIMERS) is expected


def test_ending_long_after_the_claim_without_a_start_says_nothing() -> None:
    assert sign_of(ended(reason=EndReason.SCANNER_FAILED, lasted=600, started_at=None), TIMERS) is None


@pytest.mark.parametrize(("lasted", "sign"), [(120, Sign.FAILS), (120.001, None)])
def test_ending_is_fast_up_to_its_limit(lasted: float, sign: Sign | None) -> None:
    assert sign_of(ended(lasted=lasted), TIMERS) is sign


def test_failures_count_up_to_the_scan_that_worked() -> None:
    row = [ended(0), ended(10), ended(20, lasted=300, reason=EndReason.RUN_TIMEOUT), ended(30), ended(40)]

    assert failures_in_a_row(row, TIMERS) == row[:2]


def test_failures_count_past_ends_that_say_nothing() -> None:
    row = [ended(0), ended(10, reason=EndReason.CANCELED_BY_USER), ended(20, reason=EndReason.TARGET_UNREACHABLE), ended(30)]

    assert failures_in_a_row(row, TIMERS) == [row[0], row[3]]


def test_failures_side_by_side_count_once() -> None:
    row = [ended(0, lasted=20), ended(1, lasted=20), ended(2, lasted=20), ended(30, lasted=20), ended(31, lasted=20)]

    assert failures_in_a_row(row, TIMERS) == [row[0], row[3]]


def test_failures_of_one_target_count_once_where_the_target_may_be_to_blame() -> None:
    one = TargetId("one")
    doubtful = [ended(ago, reason=EndReason.SCANNER_FAILED, target_id=one) for ago in (0, 10, 20)]
    own = [ended(ago, target_id=one) for ago in (30, 40)]

    assert failures_in_a_row([*doubtful, *own], TIMERS) == [doubtful[0], *own]


def test_quarantine_begins_with_the_third_failure_in_a_row_and_keeps_what_is_known_of_each() -> None:
    row = [ended(0), ended(10), ended(20)]

    second, third = (quarantine_for(runner(), row[0], row[1:until], NOW, TIMERS) for until in (2, 3))

    assert second is None
    assert third is not None
    assert (third.since, third.until, third.number) == (NOW, NOW + seconds(900), 1)
    assert [(one.scan_id, one.end_reason, one.status_reason, one.seconds) for one in third.failures] == [
        (one.scan_id, EndReason.IMAGE_UNAVAILABLE, "No such host.", 5.0) for one in row
    ]


@pytest.mark.parametrize(
    ("differences", "latest"),
    [
        ({"trusted_at": NOW - seconds(12)}, {}),
        ({"admin_state": AdminState.PAUSED}, {}),
        ({"admin_state": AdminState.QUARANTINED, "admin_until": NOW + seconds(1), "quarantine": quarantine()}, {}),
        ({"quarantine": quarantine(since=NOW - seconds(3))}, {}),
        ({}, {"reason": EndReason.TARGET_UNREACHABLE}),
    ],
    ids=["somebody has looked since", "paused", "quarantined already", "begun before the quarantine", "the target's fault"],
)
def test_quarantine_does_not_begin(differences: dict[str, Any], latest: dict[str, Any]) -> None:
    earlier = [ended(10), ended(20), ended(30)]

    assert quarantine_for(runner(**differences), ended(0, **latest), earlier, NOW, TIMERS) is None


@pytest.mark.parametrize(("number", "length"), [(1, 1800), (2, 3600), (7, 24 * 3600), (10**6, 24 * 3600)])
def test_quarantine_begins_again_with_one_failure_of_the_trial_and_lasts_twice_as_long(number: int, length: float) -> None:
    on_trial = runner(quarantine=quarantine(number))

    again = quarantine_for(on_trial, ended(0), [], NOW, TIMERS)

    assert again is not None
    assert (again.number, again.until) == (number + 1, NOW + seconds(length))


def test_quarantine_keeps_the_latest_evidence_alone() -> None:
    first = quarantine_for(runner(), ended(0), [ended(ago) for ago in range(10, 300, 10)], NOW, TIMERS)
    assert first is not None

    again = quarantine_for(runner(quarantine=first.model_copy(update={"since": NOW - seconds(900)})), ended(1), [], NOW, TIMERS)

    assert again is not None
    assert len(first.failures) == len(again.failures) == MOST_EVIDENCE
    assert [one.scan_id for one in again.failures[:2]] == ["scan-1", "scan-0"]


@pytest.mark.parametrize(
    ("differences", "latest", "expected"),
    [
        ({"quarantine": quarantine()}, {"reason": EndReason.COMPLETED}, True),
        ({"quarantine": quarantine()}, {"reason": EndReason.RUN_TIMEOUT, "lasted": 600}, True),
        ({"quarantine": quarantine()}, {"reason": EndReason.TARGET_UNREACHABLE}, False),
        ({"quarantine": quarantine()}, {}, False),
        ({"quarantine": quarantine(since=NOW - seconds(3))}, {"reason": EndReason.COMPLETED}, False),
        ({"quarantine": quarantine(), "admin_state": AdminState.QUARANTINED}, {"reason": EndReason.COMPLETED}, False),
        ({}, {"reason": EndReason.COMPLETED}, False),
    ],
)
def test_trial_is_passed_by_a_scan_that_began_in_it_and_worked(differences: dict[str, Any], latest: dict[str, Any], expected: bool) -> None:
    assert has_passed(runner(**differences), ended(0, **latest), NOW, TIMERS) is expected


def test_runner_on_trial_has_one_slot() -> None:
    on_trial = runner(configured_concurrency=4, live_leases=1, quarantine=quarantine())

    assert (on_trial.slots, on_trial.free_slots) == (1, 0)
