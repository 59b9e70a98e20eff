"""What becomes of a scan when an attempt ends, and which timer has run out."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apviso.protocol.states import (
    ACTIVE_STATUSES,
    CANCELLED_REASONS,
    COMPLETED_REASONS,
    FINAL_STATUSES,
    RETRIED_REASONS,
    AdminState,
    EndReason,
    ScanStatus,
)
from apviso.server.scans.facts import AttemptFacts, ScanFacts
from apviso.server.scans.lifecycle import Due, after_attempt, due, is_drain_overdue
from tests.unit.known import NOW, TIMERS, attempt, runner, scan, seconds

LONG_AGO = NOW - timedelta(hours=1)


@pytest.mark.parametrize("reason", EndReason)
def test_attempt_that_ended_leaves_the_scan_where_its_reason_says(reason: EndReason) -> None:
    outcome = after_attempt(scan(), reason, "a message", NOW, NOW, TIMERS)

    expected: tuple[object, ...]
    if reason in RETRIED_REASONS:
        expected = (ScanStatus.PENDING_RUNNER, None, f"{reason}: a message", NOW + seconds(30), True)
    elif reason in COMPLETED_REASONS:
        expected = (ScanStatus.COMPLETED, reason, "a message", None, False)
    elif reason in CANCELLED_REASONS:
        expected = (ScanStatus.CANCELLED, reason, "a message", None, False)
    else:
        expected = (ScanStatus.FAILED, reason, "a message", None, False)
    assert (outcome.status, outcome.end_reason, outcome.reason, outcome.not_before, outcome.is_failure_counted) == expected


@pytest.mark.parametrize(
    ("failures", "status", "wait"), [(0, ScanStatus.PENDING_RUNNER, 30), (1, ScanStatus.PENDING_RUNNER, 120), (2, ScanStatus.FAILED, None)]
)
def test_attempt_lost_is_retried_twice_and_ever_later(failures: int, status: ScanStatus, wait: float | None) -> None:
    outcome = after_attempt(scan(infrastructure_failures=failures), EndReason.RUNNER_LOST, None, NOW, NOW, TIMERS)

    assert outcome.status is status
    assert outcome.not_before == (None if wait is None else NOW + seconds(wait))
    assert outcome.end_reason is (EndReason.RUNNER_LOST if wait is None else None)


def test_attempt_of_a_stopped_runner_that_had_not_begun_goes_back_at_once_and_uncounted() -> None:
    outcome = after_attempt(scan(infrastructure_failures=2), EndReason.RUNNER_SHUTDOWN, None, NOW, NOW, TIMERS, was_started=False)

    assert (outcome.status, outcome.not_before, outcome.is_failure_counted) == (ScanStatus.PENDING_RUNNER, NOW, False)


@pytest.mark.parametrize("reason", sorted(set(EndReason) - {EndReason.RUNNER_SHUTDOWN}))
def test_attempt_that_had_not_begun_ends_for_any_other_reason_as_one_that_had(reason: EndReason) -> None:
    begun, not_begun = (after_attempt(scan(), reason, None, NOW, NOW, TIMERS, was_started=started) for started in (True, False))

    assert begun == not_begun


def test_retry_waits_until_the_old_attempt_is_silent() -> None:
    outcome = after_attempt(scan(), EndReason.RUNNER_REVOKED, None, NOW, NOW + seconds(290), TIMERS)

    assert outcome.not_before == NOW + seconds(290)


@pytest.mark.parametrize("reason", sorted(set(EndReason) - COMPLETED_REASONS))
def test_cancel_wins_over_every_end_but_a_completed_one(reason: EndReason) -> None:
    told = scan(cancel_requested_at=NOW, cancel_reason=EndReason.CANCELED_BY_USER)

    outcome = after_attempt(told, reason, None, NOW, NOW, TIMERS)

    assert (outcome.status, outcome.end_reason) == (ScanStatus.CANCELLED, EndReason.CANCELED_BY_USER)


@pytest.mark.parametrize("reason", sorted(COMPLETED_REASONS))
def test_cancel_under_way_does_not_undo_a_completed_scan(reason: EndReason) -> None:
    told = scan(cancel_requested_at=NOW, cancel_reason=EndReason.CANCELED_BY_USER)

    assert after_attempt(told, reason, None, NOW, NOW, TIMERS).status is ScanStatus.COMPLETED


def test_cancel_for_a_spent_run_time_is_a_failure() -> None:
    told = scan(cancel_requested_at=NOW, cancel_reason=EndReason.RUN_TIMEOUT)

    outcome = after_attempt(told, EndReason.CANCELED_BY_USER, None, NOW, NOW, TIMERS)

    assert (outcome.status, outcome.end_reason) == (ScanStatus.FAILED, EndReason.RUN_TIMEOUT)
    assert outcome.reason == "The scan did not end within its time and was stopped."


CANCELLED = {"cancel_requested_at": NOW, "cancel_reason": EndReason.CANCELED_BY_USER}


@pytest.mark.parametrize(
    ("of_scan", "of_attempt", "after", "expected"),
    [
        ({"status": ScanStatus.PENDING_RUNNER}, None, 86_399, None),
        ({"status": ScanStatus.PENDING_RUNNER}, None, 86_400, Due.QUEUE_TIMEOUT),
        ({"status": ScanStatus.ASSIGNED}, {"started_at": None}, 59, None),
        ({"status": ScanStatus.ASSIGNED}, {"started_at": None}, 60, Due.ASSIGNED_SILENT),
        ({"status": ScanStatus.ASSIGNED}, {"started_at": None, "heard_at": NOW + seconds(299)}, 300, Due.RUNNER_LOST),
        ({"status": ScanStatus.ASSIGNED, **CANCELLED}, {"started_at": None, "heard_at": NOW + seconds(100)}, 120, Due.CANCEL_FORCED),
        ({"status": ScanStatus.RUNNING}, {}, 119, None),
        ({"status": ScanStatus.RUNNING}, {}, 120, Due.LEASE_EXPIRED),
        ({"status": ScanStatus.RUNNING}, {}, 300, Due.RUNNER_LOST),
        ({"status": ScanStatus.STALE}, {}, 299, None),
        ({"status": ScanStatus.STALE}, {}, 300, Due.RUNNER_LOST),
        ({"status": ScanStatus.RUNNING, **CANCELLED}, {}, 119, None),
        ({"status": ScanStatus.RUNNING, **CANCELLED}, {}, 120, Due.CANCEL_FORCED),
        ({"status": ScanStatus.COMPLETED}, {}, 10**6, None),
    ],
)
def test_timer_runs_out_exactly_at_its_end(
    of_scan: dict[str, Any], of_attempt: dict[str, Any] | None, after: float, expected: Due | None
) -> None:
    held = None if of_attempt is None else attempt(**of_attempt)

    assert due(scan(**of_scan), held, NOW + seconds(after), LONG_AGO, TIMERS) is expected


@pytest.mark.parametrize("status", [ScanStatus.ASSIGNED, ScanStatus.RUNNING, ScanStatus.STALE])
def test_run_time_runs_out_for_an_attempt_that_keeps_renewing(status: ScanStatus) -> None:
    end = NOW + TIMERS.run_timeout
    renewed = {"heard_at": end, "renewed_at": end, "lease_expires_at": end + TIMERS.lease}

    before, at_end = (
        due(scan(status=status), attempt(**renewed), moment, LONG_AGO, TIMERS) for moment in (end - seconds(1), end)
    )  # fmt: skip

    assert (before, at_end) == (None, Due.RUN_TIMEOUT)


def test_run_time_that_ran_out_is_told_once() -> None:
    end = NOW + TIMERS.run_timeout
    told = scan(cancel_requested_at=end - seconds(1), cancel_reason=EndReason.RUN_TIMEOUT)

    assert due(told, attempt(heard_at=end, renewed_at=end, lease_expires_at=end + TIMERS.lease), end, LONG_AGO, TIMERS) is None


def test_lease_does_not_expire_during_the_amnesty_but_a_cancel_is_forced() -> None:
    moment = NOW + seconds(500)
    in_amnesty = moment + seconds(1)

    held, cancelled = due(scan(), attempt(), moment, in_amnesty, TIMERS), due(scan(**CANCELLED), attempt(), moment, in_amnesty, TIMERS)

    assert (held, cancelled) == (None, Due.CANCEL_FORCED)


def _ages(limit: float = 90_000) -> st.SearchStrategy[datetime]:
    return st.floats(0, limit).map(lambda age: NOW - seconds(age))


@given(
    status=st.sampled_from(sorted(ACTIVE_STATUSES)), created=_ages(), assigned=_ages(), heard=_ages(), renewed=_ages(),
    cancel=st.none() | _ages(),
)  # fmt: skip
def test_scan_that_is_not_final_has_a_timer_that_will_run_out(
    status: ScanStatus, created: datetime, assigned: datetime, heard: datetime, renewed: datetime, cancel: datetime | None
) -> None:
    known: ScanFacts = scan(
        status=status, created_at=created, cancel_requested_at=cancel, cancel_reason=cancel and EndReason.CANCELED_BY_USER
    )
    held: AttemptFacts | None = None
    if status is not ScanStatus.PENDING_RUNNER:
        held = attempt(
            assigned_at=assigned, heard_at=heard, renewed_at=renewed, lease_expires_at=renewed + TIMERS.lease, started_at=assigned
        )

    assert due(known, held, NOW + timedelta(days=2), LONG_AGO, TIMERS) is not None


@given(status=st.sampled_from(sorted(FINAL_STATUSES)), after=st.floats(0, 10**7))
def test_scan_that_is_final_has_no_timer(status: ScanStatus, after: float) -> None:
    assert due(scan(status=status), attempt(), NOW + seconds(after), LONG_AGO, TIMERS) is None


@pytest.mark.parametrize(
    ("told", "amnesty", "expected"),
    [
        ({"admin_state": AdminState.DRAINING, "drain_deadline": NOW - seconds(120)}, 0, True),
        ({"admin_state": AdminState.DRAINING, "drain_deadline": NOW - seconds(119)}, 0, False),
        ({"admin_state": AdminState.DRAINING, "drain_deadline": NOW - seconds(120)}, 1, False),
        ({"admin_state": AdminState.DRAINING, "drain_deadline": None}, 0, False),
        ({"admin_state": AdminState.PAUSED, "drain_deadline": NOW - seconds(120)}, 0, False),
    ],
)
def test_drain_is_overdue_when_its_runner_had_time_to_give_its_scans_back(told: dict[str, Any], amnesty: float, expected: bool) -> None:
    assert is_drain_overdue(runner(**told), NOW, NOW + seconds(amnesty), TIMERS) is expected
