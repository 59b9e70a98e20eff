"""Who holds a lease, who may claim, and from when on an attempt is surely silent."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apviso.protocol.states import AdminState, LicenseState, ScanStatus
from apviso.protocol.wire import RunnerId
from apviso.server.errors import LeaseLost
from apviso.server.runners.presence import presence_of
from apviso.server.scans.leases import holder_of, silent_at, why_not_claim
from tests.unit.known import NOW, POLICY, TIMERS, attempt, license_, runner, scan, seconds

ME = RunnerId("runner-1")


@pytest.mark.parametrize("status", [ScanStatus.ASSIGNED, ScanStatus.RUNNING, ScanStatus.STALE])
def test_holder_of_a_live_attempt_is_its_runner(status: ScanStatus) -> None:
    held = attempt()

    assert holder_of(scan(status=status), held, ME) is held


@pytest.mark.parametrize(
    ("of_scan", "of_attempt"),
    [
        ({}, {"runner_id": RunnerId("another")}),
        ({"attempt": 2}, {}),
        ({}, {"ended_at": NOW}),
        ({"status": ScanStatus.PENDING_RUNNER}, {}),
        ({"status": ScanStatus.COMPLETED}, {}),
        ({"status": ScanStatus.FAILED}, {}),
        ({"status": ScanStatus.CANCELLED}, {}),
        ({"status": ScanStatus.PREFLIGHT_FAILED}, {}),
    ],
)
def test_holder_of_anything_else_is_nobody(of_scan: dict[str, Any], of_attempt: dict[str, Any]) -> None:
    with pytest.raises(LeaseLost):
        holder_of(scan(**of_scan), attempt(**of_attempt), ME)


def test_holder_of_no_attempt_is_nobody() -> None:
    with pytest.raises(LeaseLost):
        holder_of(scan(), None, ME)


@pytest.mark.parametrize(
    ("is_confirmed", "started", "since_renewal", "expected"),
    [(True, True, 10, 0), (False, False, 10, 0), (False, True, 10, 290), (False, True, 300, 0), (False, True, 400, 0)],
)
def test_attempt_is_surely_silent_when_it_said_so_or_300_s_after_its_last_renewal(
    is_confirmed: bool, started: bool, since_renewal: float, expected: float
) -> None:
    held = attempt(renewed_at=NOW - seconds(since_renewal), started_at=NOW if started else None)

    assert silent_at(held, NOW, TIMERS, is_confirmed=is_confirmed) == NOW + seconds(expected)


@given(since_renewal=st.floats(0, 1000), travel=st.floats(0, 30))
def test_attempt_has_stopped_itself_before_it_counts_as_silent(since_renewal: float, travel: float) -> None:
    held = attempt(renewed_at=NOW - seconds(since_renewal))
    sent = held.renewed_at - seconds(travel)
    stopped = sent + TIMERS.self_stop_after + TIMERS.kill_within

    assert silent_at(held, NOW, TIMERS, is_confirmed=False) >= stopped + seconds(30)


@pytest.mark.parametrize(
    ("of_runner", "of_license", "live", "offered", "expected"),
    [
        ({}, {}, 0, 1, None),
        ({"admin_state": AdminState.PAUSED}, {}, 0, 1, "paused"),
        ({"admin_state": AdminState.DRAINING}, {}, 0, 1, "draining"),
        ({"admin_state": AdminState.QUARANTINED}, {}, 0, 1, "quarantined"),
        ({"admin_state": AdminState.PAUSED, "admin_until": NOW}, {}, 0, 1, None),
        ({"health": {"engineReachable": False}}, {}, 0, 1, "engine_unreachable"),
        ({"health": {"clockSkewMs": 99_999}}, {}, 0, 1, None),
        ({"last_heartbeat_at": NOW - seconds(50)}, {}, 0, 1, None),
        ({}, {"can_start_self_hosted_scan": False, "license_state": LicenseState.EXPIRED}, 0, 1, "license_expired"),
        ({}, {}, 0, 0, "no_free_slot"),
        ({"live_leases": 1}, {}, 1, 1, "no_free_slot"),
        ({"configured_concurrency": 4, "max_concurrency": 2, "live_leases": 2}, {}, 2, 1, "no_free_slot"),
        ({"configured_concurrency": 4, "live_leases": 1, "ephemeral": True}, {}, 1, 1, "no_free_slot"),
        ({"configured_concurrency": 4, "live_leases": 3}, {}, 3, 1, None),
        ({}, {}, 10, 1, "license_capacity"),
        ({}, {}, 9, 1, None),
    ],
)
def test_claim_is_refused_for_the_first_reason_that_holds(
    of_runner: dict[str, Any], of_license: dict[str, Any], live: int, offered: int, expected: str | None
) -> None:
    known = runner(**of_runner)

    assert why_not_claim(known, presence_of(known, NOW, POLICY), license_(**of_license), live, offered, NOW) == expected


@pytest.mark.parametrize(
    ("of_runner", "expected"),
    [({}, "roll_call"), ({"admin_state": AdminState.PAUSED}, "paused"), ({"health": {"engineReachable": False}}, "roll_call")],
)
def test_claim_in_a_roll_call_is_refused_unless_somebody_stopped_the_runner(of_runner: dict[str, Any], expected: str) -> None:
    known = runner(**of_runner)

    assert why_not_claim(known, presence_of(known, NOW, POLICY), license_(), 0, 1, NOW, is_roll_call=True) == expected
