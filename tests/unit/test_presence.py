"""How a runner stands: every status, every reason, every boundary."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apviso.protocol.states import BLOCKING_FAULTS, AdminState, Fault, RunnerStatus, Silence
from apviso.server.runners.presence import PresencePolicy, admin_state_at, is_older, next_change, presence_of
from tests.unit.known import NOW, POLICY, TIMERS, runner, seconds

GIB = 1024**3


def test_runner_that_just_reported_is_online_and_accepting() -> None:
    presence = presence_of(runner(), NOW, POLICY)

    assert (presence.status, presence.reasons, presence.is_accepting, presence.is_present) == (RunnerStatus.ONLINE, (), True, True)


@pytest.mark.parametrize(
    ("age", "status", "reasons"),
    [
        (0, RunnerStatus.ONLINE, ()),
        (35, RunnerStatus.ONLINE, ()),
        (35.001, RunnerStatus.DEGRADED, (Fault.HEARTBEAT_LATE,)),
        (60, RunnerStatus.DEGRADED, (Fault.HEARTBEAT_LATE,)),
        (60.001, RunnerStatus.OFFLINE, (Silence.NO_CONTACT,)),
        (10**6, RunnerStatus.OFFLINE, (Silence.NO_CONTACT,)),
        (-5, RunnerStatus.ONLINE, ()),
    ],
)
def test_runner_silent_for_a_while_changes_at_35_and_60_s(age: float, status: RunnerStatus, reasons: tuple[str, ...]) -> None:
    known = runner(last_heartbeat_at=NOW - seconds(age), last_contact_at=NOW - seconds(age))

    presence = presence_of(known, NOW, POLICY)

    assert (presence.status, presence.reasons) == (status, reasons)


def test_runner_that_went_silent_is_offline_since_its_contact_ran_out() -> None:
    known = runner(last_heartbeat_at=NOW - seconds(100), last_contact_at=NOW - seconds(100))

    assert presence_of(known, NOW, POLICY).since == NOW - seconds(40)


def test_runner_in_contact_without_heartbeats_is_late_but_not_offline() -> None:
    known = runner(last_heartbeat_at=NOW - seconds(1000), last_contact_at=NOW - seconds(10))

    presence = presence_of(known, NOW, POLICY)

    assert (presence.status, presence.reasons, presence.is_accepting) == (RunnerStatus.DEGRADED, (Fault.HEARTBEAT_LATE,), True)


@pytest.mark.parametrize(
    ("differences", "reason"),
    [
        ({"last_contact_at": None, "last_heartbeat_at": None}, Silence.NEVER_CONTACTED),
        ({"goodbye_at": NOW - seconds(1)}, Silence.SAID_GOODBYE),
        ({"last_contact_at": NOW - seconds(61)}, Silence.NO_CONTACT),
    ],
)
def test_runner_offline_says_why_and_accepts_nothing(differences: dict[str, Any], reason: Silence) -> None:
    presence = presence_of(runner(**differences), NOW, POLICY)

    assert (presence.status, presence.reasons, presence.is_accepting, presence.is_present) == (
        RunnerStatus.OFFLINE,
        (reason,),
        False,
        False,
    )


def test_runner_revoked_is_that_whatever_else_holds() -> None:
    presence = presence_of(runner(revoked_at=NOW - seconds(5), goodbye_at=NOW, health={"diskFreeBytes": 0}), NOW, POLICY)

    assert (presence.status, presence.reasons, presence.is_accepting) == (RunnerStatus.REVOKED, (), False)
    assert presence.since == NOW - seconds(5)


@pytest.mark.parametrize(
    ("left", "seen", "status"),
    [
        (1, RunnerStatus.ONLINE, RunnerStatus.DEGRADED),
        (0, RunnerStatus.ONLINE, RunnerStatus.OFFLINE),
        (1, RunnerStatus.OFFLINE, RunnerStatus.OFFLINE),
    ],
)
def test_runner_silent_during_the_amnesty_is_not_newly_offline(left: float, seen: RunnerStatus, status: RunnerStatus) -> None:
    policy = replace(POLICY, amnesty_until=NOW + seconds(left))
    known = runner(last_heartbeat_at=NOW - seconds(500), last_contact_at=NOW - seconds(500), observed_status=seen)

    assert presence_of(known, NOW, policy).status is status


def test_runner_that_said_goodbye_is_offline_even_during_the_amnesty() -> None:
    policy = replace(POLICY, amnesty_until=NOW + seconds(60))

    assert presence_of(runner(goodbye_at=NOW), NOW, policy).status is RunnerStatus.OFFLINE


FAULTS: list[tuple[dict[str, Any], Fault | None]] = [
    ({"health": {"diskFreeBytes": 5 * GIB}}, None),
    ({"health": {"diskFreeBytes": 5 * GIB - 1}}, Fault.DISK_LOW),
    ({"health": {"engineReachable": True}}, None),
    ({"health": {"engineReachable": False}}, Fault.ENGINE_UNREACHABLE),
    ({"health": {"clockSkewMs": 30_000}}, None),
    ({"health": {"clockSkewMs": 30_001}}, Fault.CLOCK_SKEW),
    ({"health": {"clockSkewMs": -30_001}}, Fault.CLOCK_SKEW),
    ({"health": {"spoolBacklogBytes": 64 * 1024**2}}, None),
    ({"health": {"spoolBacklogBytes": 64 * 1024**2 + 1}}, Fault.SPOOL_BACKLOG),
    ({"health": {"faults": ["fast_failures"]}}, Fault.FAST_FAILURES),
    ({"admin_state": AdminState.QUARANTINED}, Fault.FAST_FAILURES),
    ({"admin_state": AdminState.QUARANTINED, "admin_until": NOW + seconds(1)}, Fault.FAST_FAILURES),
    ({"health": {"faults": ["provider_unconfigured"]}}, Fault.PROVIDER_UNCONFIGURED),
    ({"health": {"faults": ["disk_low"]}}, Fault.DISK_LOW),
    ({"health": {"faults": ["heartbeat_late", "duplicate_identity", "nonsense", 7, None]}}, None),
    ({"health": {"faults": "fast_failures", "diskFreeBytes": "little", "clockSkewMs": True, "engineReachable": None}}, None),
    ({"duplicate_seen_at": NOW - seconds(300)}, Fault.DUPLICATE_IDENTITY),
    ({"duplicate_seen_at": NOW - seconds(301)}, None),
    ({"claim_poll_age_ms": 90_000}, None),
    ({"claim_poll_age_ms": 90_001}, Fault.CLAIM_LOOP_STALLED),
    ({"claim_poll_age_ms": None}, None),
    ({"claim_poll_age_ms": 90_001, "live_leases": 1}, None),
    ({"claim_poll_age_ms": 90_001, "admin_state": AdminState.PAUSED}, None),
    ({"version": "0.0.9"}, Fault.VERSION_UNSUPPORTED),
    ({"version": "0.1.0"}, Fault.VERSION_DEPRECATED),
    ({"version": "0.2.0"}, None),
]


@pytest.mark.parametrize(("differences", "fault"), FAULTS)
def test_fault_holds_exactly_where_its_limit_is_passed(differences: dict[str, Any], fault: Fault | None) -> None:
    told = {"version": "0.2.0", **differences}
    policy = PresencePolicy(TIMERS, NOW, minimum_version="0.1.0", deprecated_version="0.2.0")

    presence = presence_of(runner(**told), NOW, policy)

    assert presence.reasons == (() if fault is None else (fault,))
    assert presence.status is (RunnerStatus.ONLINE if fault is None else RunnerStatus.DEGRADED)
    assert presence.is_accepting is (fault not in BLOCKING_FAULTS and told.get("admin_state") is None)


@pytest.mark.parametrize(
    ("version", "left", "fault"),
    [
        ("0.0.9", 1, Fault.VERSION_DEPRECATED),
        ("0.0.9", 0, Fault.VERSION_UNSUPPORTED),
        ("0.1.0", 0, Fault.VERSION_DEPRECATED),
        ("0.2.0", 0, None),
    ],
)
def test_version_that_will_be_given_up_is_deprecated_until_then(version: str, left: float, fault: Fault | None) -> None:
    ends = NOW + seconds(left)
    policy = PresencePolicy(TIMERS, NOW - timedelta(hours=1), minimum_version="0.1.0", deprecated_version="0.2.0", minimum_from=ends)
    known = runner(version=version)

    presence = presence_of(known, NOW, policy)

    assert presence.reasons == (() if fault is None else (fault,))
    assert presence.is_accepting is (fault is not Fault.VERSION_UNSUPPORTED)
    assert presence.unsupported_from == (ends if version == "0.0.9" else None)
    assert (next_change(known, NOW, policy) == ends) is (version == "0.0.9" and left > 0)


def test_faults_without_exception_are_in_the_table() -> None:
    assert {fault for _, fault in FAULTS} | {Fault.HEARTBEAT_LATE} == {*Fault, None}


def test_faults_that_hold_together_are_all_told() -> None:
    health = {"engineReachable": False, "clockSkewMs": 99_999, "faults": ["provider_unconfigured"]}
    presence = presence_of(runner(health=health), NOW, POLICY)

    assert presence.reasons == (Fault.ENGINE_UNREACHABLE, Fault.CLOCK_SKEW, Fault.PROVIDER_UNCONFIGURED)
    assert presence.blocking_faults == [Fault.ENGINE_UNREACHABLE]


@pytest.mark.parametrize("state", [AdminState.PAUSED, AdminState.DRAINING])
def test_runner_that_an_administrator_stopped_is_online_and_accepts_nothing(state: AdminState) -> None:
    presence = presence_of(runner(admin_state=state), NOW, POLICY)

    assert (presence.status, presence.is_accepting) == (RunnerStatus.ONLINE, False)


@pytest.mark.parametrize(
    ("left", "expected"), [(None, AdminState.PAUSED), (1, AdminState.PAUSED), (0, AdminState.ENABLED), (-1, AdminState.ENABLED)]
)
def test_pause_with_an_end_is_over_when_it_comes(left: float | None, expected: AdminState) -> None:
    until = None if left is None else NOW + seconds(left)

    assert admin_state_at(runner(admin_state=AdminState.PAUSED, admin_until=until), NOW) is expected


@pytest.mark.parametrize(
    ("version", "than", "expected"),
    [
        ("0.1.0", None, False),
        ("0.1.0", "0.1.0", False),
        ("0.1.0", "0.1.1", True),
        ("0.10.0", "0.9.0", False),
        ("v0.9", "0.10", True),
        ("1.0.0-rc1", "1.0.0", False),
        ("nightly", "1.0", False),
        ("1.0", "nightly", False),
    ],
)
def test_version_is_older_by_its_numbers(version: str, than: str | None, expected: bool) -> None:
    assert is_older(version, than) is expected


@given(ages=st.tuples(st.floats(0, 500), st.floats(0, 500)), left=st.floats(-300, 300), later=st.floats(0, 500))
def test_silence_never_makes_a_runner_look_better(ages: tuple[float, float], left: float, later: float) -> None:
    policy = replace(POLICY, amnesty_until=NOW + seconds(left))
    known = runner(last_heartbeat_at=NOW - seconds(ages[0]), last_contact_at=NOW - seconds(min(ages)))
    order = [RunnerStatus.ONLINE, RunnerStatus.DEGRADED, RunnerStatus.OFFLINE]

    now, then = (presence_of(known, moment, policy).status for moment in (NOW, NOW + timedelta(seconds=later)))

    assert order.index(now) <= order.index(then)


_AGES = st.none() | st.sampled_from([0, 10, 34, 35, 36, 59, 60, 61, 299, 300, 301]).map(lambda age: NOW - seconds(age))


@given(
    facts=st.fixed_dictionaries(
        {
            "last_heartbeat_at": _AGES,
            "last_contact_at": _AGES,
            "duplicate_seen_at": _AGES,
            "goodbye_at": _AGES,
            "revoked_at": st.none() | st.just(NOW),
            "admin_state": st.sampled_from(AdminState),
            "admin_until": st.none() | st.floats(-50, 50).map(lambda left: NOW + seconds(left)),
            "claim_poll_age_ms": st.sampled_from([None, 0, 90_001]),
            "version": st.sampled_from(["0.1.0", "9.9.9"]),
            "observed_status": st.sampled_from([None, *RunnerStatus]),
        }
    ),
    left=st.floats(-100, 100),
    share=st.floats(0, 1, exclude_max=True),
)
def test_presence_until_its_next_change_stays_as_it_is(facts: dict[str, Any], left: float, share: float) -> None:
    ends = NOW + seconds(-left / 2)
    policy = replace(POLICY, amnesty_until=NOW + seconds(left), minimum_version="1.0.0", minimum_from=ends)
    known = runner(**facts)
    until = next_change(known, NOW, policy)
    then = NOW + seconds(10**6) if until is None else NOW + (until - NOW) * share

    now, later = ((presence_of(known, moment, policy), admin_state_at(known, moment)) for moment in (NOW, min(then, until or then)))

    assert until is None or until > NOW
    assert now == later or until == then
