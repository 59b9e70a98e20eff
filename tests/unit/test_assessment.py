"""Whether a scan may start: each check as the one blocker that matters, and what follows from it."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, time, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apviso.protocol.readiness import CheckCode, Readiness
from apviso.protocol.states import AdminState, LicenseState, Visibility
from apviso.protocol.wire import RunnerId
from apviso.server.localtime import Hours
from apviso.server.readiness.assessment import Candidate, Question, TargetFacts, assess, waiting_for
from apviso.server.runners.presence import presence_of
from tests.unit.known import NOW, POLICY, license_, runner, seconds

TARGET = TargetFacts(Visibility.LOCALHOST, is_verified=False, needs_proof=True)
PUBLIC = replace(TARGET, visibility=Visibility.PUBLIC)


def candidate(*busy_until: float, **differences: Any) -> Candidate:
    facts = runner(**differences)
    return Candidate(facts, presence_of(facts, NOW, POLICY), tuple(NOW + seconds(end) for end in busy_until))


def named(name: str, **differences: Any) -> Candidate:
    return candidate(id=RunnerId(name), name=name, **differences)


def question(*candidates: Candidate, **differences: Any) -> Question:
    live = sum(one.facts.live_leases for one in candidates)
    return replace(Question(license_(), live, candidates, NOW, target=TARGET), **differences)


SILENT: dict[str, Any] = {"last_contact_at": NOW - seconds(61)}
PAUSED: dict[str, Any] = {"admin_state": AdminState.PAUSED}
FAULTY: dict[str, Any] = {"health": {"engineReachable": False}}
ELSEWHERE: dict[str, Any] = {"capabilities": {"targetVisibilities": ["public"]}}
# 09:15:32 is in the mornings and not in the nights.
MORNINGS = Hours(frozenset(range(7)), time(6), time(12), "UTC")
NIGHTS = Hours(frozenset(range(7)), time(22), time(6), "UTC")
MAINTAINED: dict[str, Any] = {"maintenance_windows": (MORNINGS,)}
BUSY: dict[str, Any] = {"live_leases": 1}
CALLED: dict[str, Any] = {"roll_call_until": NOW + seconds(200)}
REVOKED: dict[str, Any] = {"revoked_at": NOW}
NO_LICENSE = license_(can_start_self_hosted_scan=False, license_state=LicenseState.EXPIRED)

BLOCKED: list[tuple[Question, CheckCode]] = [
    (question(candidate(), license=NO_LICENSE), CheckCode.LICENSE_ACTIVE),
    (question(candidate(), license=license_(allowed_target_visibilities=[])), CheckCode.VISIBILITY_ALLOWED),
    (question(candidate(), target=PUBLIC), CheckCode.TARGET_VERIFIED),
    (question(), CheckCode.RUNNER_REGISTERED),
    (question(candidate(**REVOKED)), CheckCode.RUNNER_REGISTERED),
    (question(candidate(**SILENT)), CheckCode.RUNNER_ONLINE),
    (question(candidate(last_contact_at=None)), CheckCode.RUNNER_ONLINE),
    (question(candidate(**PAUSED)), CheckCode.RUNNER_ACCEPTING),
    (question(candidate(**CALLED)), CheckCode.RUNNER_ACCEPTING),
    (question(candidate(**FAULTY)), CheckCode.RUNNER_HEALTHY),
    (question(candidate(**ELSEWHERE)), CheckCode.RUNNER_COMPATIBLE),
    (question(candidate(**MAINTAINED)), CheckCode.RUNNER_IN_MAINTENANCE),
    (question(candidate(**BUSY)), CheckCode.RUNNER_CAPACITY),
    (question(candidate(), live_leases=10), CheckCode.LICENSE_CAPACITY),
    (question(candidate(), target=replace(TARGET, is_idle=False)), CheckCode.TARGET_IDLE),
    (question(candidate(), target=replace(TARGET, windows=(NIGHTS,))), CheckCode.SCAN_WINDOW_CLOSED),
    (question(candidate(), not_before=NOW + seconds(1)), CheckCode.RETRY_DELAY),
]


@pytest.mark.parametrize(("asked", "blocker"), BLOCKED, ids=[f"{code}-{n}" for n, (_, code) in enumerate(BLOCKED)])
def test_check_that_fails_is_the_primary_blocker_with_message_and_fix(asked: Question, blocker: CheckCode) -> None:
    readiness = assess(asked)

    failed = [check for check in readiness.checks if not check.ok]
    assert (readiness.ready, readiness.primary_blocker) == (False, blocker)
    assert failed[0].code is blocker
    assert readiness.reason == failed[0].message
    assert all(check.fix and check.message for check in failed)
    assert all(check.fix is None for check in readiness.checks if check.ok)


def test_checks_without_exception_block_in_the_table() -> None:
    assert {code for _, code in BLOCKED} == set(CheckCode)


def test_checks_come_in_the_order_of_their_list() -> None:
    codes = [check.code for check in assess(question(candidate(), not_before=NOW)).checks]

    assert codes == list(CheckCode)


def test_checks_about_a_target_are_left_out_where_none_is_named() -> None:
    readiness = assess(question(candidate(), target=None))

    assert [check.code for check in readiness.checks] == list(CheckCode)[:-3]
    assert (readiness.ready, readiness.visibility, readiness.visibility_ok) == (True, None, True)


def test_readiness_with_everything_in_order_selects_a_runner() -> None:
    readiness = assess(question(candidate()))

    assert (readiness.ready, readiness.visibility_ok, readiness.runner_ok, readiness.capacity_ok) == (True, True, True, True)
    assert (readiness.selected_runner_id, readiness.reason, readiness.estimated_start_at) == ("runner-1", None, None)


@pytest.mark.parametrize(
    ("candidates", "blocker"),
    [
        ([named("a", **PAUSED), named("b", **SILENT)], CheckCode.RUNNER_ACCEPTING),
        ([named("a", **FAULTY), named("b", **PAUSED)], CheckCode.RUNNER_HEALTHY),
        ([named("a", **ELSEWHERE), named("b", **FAULTY), named("c", **SILENT)], CheckCode.RUNNER_COMPATIBLE),
        ([named("a", **BUSY), named("b", **ELSEWHERE)], CheckCode.RUNNER_CAPACITY),
        ([named("a", **REVOKED), named("b", **SILENT)], CheckCode.RUNNER_ONLINE),
    ],
)
def test_runners_of_which_each_fails_another_check_are_not_ready_together(candidates: list[Candidate], blocker: CheckCode) -> None:
    readiness = assess(question(*candidates))

    assert (readiness.ready, readiness.primary_blocker) == (False, blocker)


@pytest.mark.parametrize("hindrance", [SILENT, PAUSED, FAULTY, ELSEWHERE, BUSY, REVOKED])
def test_one_runner_that_passes_every_check_is_enough(hindrance: dict[str, Any]) -> None:
    readiness = assess(question(named("a", **hindrance), named("b")))

    assert (readiness.ready, readiness.selected_runner_id) == (True, "b")


def test_runner_with_the_most_free_slots_is_selected() -> None:
    candidates = [named("a", configured_concurrency=4, live_leases=3), named("b", configured_concurrency=2), named("c")]

    assert assess(question(*candidates)).selected_runner_id == "b"


def test_runner_asked_for_is_judged_and_shown_alone() -> None:
    candidates = [named("a"), named("b", **PAUSED)]

    readiness = assess(question(*candidates, requested_runner_id=RunnerId("b")))

    assert (readiness.ready, readiness.primary_blocker) == (False, CheckCode.RUNNER_ACCEPTING)
    assert [one.id for one in readiness.runners] == ["b"]


def test_runner_asked_for_that_is_revoked_is_said_to_be() -> None:
    readiness = assess(question(named("a"), named("b", **REVOKED), requested_runner_id=RunnerId("b")))

    assert (readiness.primary_blocker, readiness.reason) == (CheckCode.RUNNER_REGISTERED, "The runner asked for is revoked.")
    assert readiness.runners == []


def test_runner_degraded_without_a_blocking_fault_is_ready() -> None:
    readiness = assess(question(candidate(health={"clockSkewMs": 99_999})))

    assert (readiness.ready, readiness.runners[0].status) == (True, "degraded")


@pytest.mark.parametrize(
    ("target", "is_proved"),
    [
        (PUBLIC, False),
        (replace(PUBLIC, is_verified=True), True),
        (replace(PUBLIC, needs_proof=False), True),
        (replace(PUBLIC, visibility=Visibility.STAGING_PREVIEW), False),
        (replace(PUBLIC, visibility=Visibility.PRIVATE_INTERNAL), True),
        (TARGET, True),
    ],
)
def test_proof_of_control_is_asked_of_public_and_staging_targets(target: TargetFacts, is_proved: bool) -> None:
    readiness = assess(question(candidate(), target=target, license=license_(allowed_target_visibilities=list(Visibility))))

    assert (readiness.ready, readiness.visibility_ok) == (is_proved, is_proved)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (question(candidate()), None),
        (question(candidate(), not_before=NOW + seconds(30)), 30),
        (question(candidate(), target=replace(TARGET, is_idle=False, idle_after=NOW + seconds(200))), 200),
        (question(candidate(), target=replace(TARGET, is_idle=False)), None),
        (question(candidate(40, 90, live_leases=2, configured_concurrency=2)), 40),
        (question(candidate(40, **BUSY), not_before=NOW + seconds(60)), 60),
        (question(candidate(**BUSY)), None),
        (question(candidate(40, **BUSY, **PAUSED)), None),
        (question(), None),
        (question(named("a"), replace(named("b", **BUSY), busy_until=(NOW + seconds(50),)), live_leases=10), 50),
    ],
)
def test_start_is_estimated_where_only_time_is_in_the_way(asked: Question, expected: float | None) -> None:
    assert assess(asked).estimated_start_at == (None if expected is None else NOW + seconds(expected))


HOUR, TODAY = timedelta(hours=1), NOW.replace(hour=0, minute=0, second=0)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (question(candidate(), target=replace(TARGET, windows=(NIGHTS,))), TODAY + 22 * HOUR),
        (question(candidate(**MAINTAINED)), TODAY + 12 * HOUR),
        (question(candidate(**MAINTAINED, **BUSY)), TODAY + 12 * HOUR),
        # The target's window opens when the runner's begins again, and is still open when that ends.
        (question(candidate(maintenance_windows=(MORNINGS, NIGHTS)), target=replace(TARGET, windows=(MORNINGS, NIGHTS))), None),
        (
            question(
                candidate(maintenance_windows=(Hours(frozenset(range(7)), time(21), time(23), "UTC"),)),
                target=replace(TARGET, windows=(NIGHTS,)),
            ),
            TODAY + 23 * HOUR,
        ),
        (question(named("a", **MAINTAINED), named("b", **SILENT), target=replace(TARGET, windows=(NIGHTS,))), TODAY + 22 * HOUR),
        (question(candidate(**MAINTAINED, **PAUSED)), None),
    ],
)
def test_next_permitted_start_respects_windows_of_target_and_runner(asked: Question, expected: datetime | None) -> None:
    assert assess(asked).estimated_start_at == expected


def test_waiting_scan_gets_the_same_answer_as_readiness() -> None:
    readiness = assess(question(candidate(**PAUSED)))

    waiting = waiting_for(readiness)

    assert (waiting.primary_blocker, waiting.reason, waiting.checks) == (readiness.primary_blocker, readiness.reason, readiness.checks)


def test_waiting_scan_that_nothing_hinders_is_about_to_be_claimed() -> None:
    assert waiting_for(assess(question(candidate()))).reason == "A runner can take this scan; it is about to be claimed."


_HINDRANCES = st.lists(st.sampled_from(["silent", "paused", "faulty", "elsewhere", "busy", "revoked"]), max_size=2)
_BY_NAME = {"silent": SILENT, "paused": PAUSED, "faulty": FAULTY, "elsewhere": ELSEWHERE, "busy": BUSY, "revoked": REVOKED}


def _runner_that_is(number: int, hindrances: list[str]) -> Candidate:
    differences: dict[str, Any] = {}
    for hindrance in hindrances:
        differences |= _BY_NAME[hindrance]
    return named(f"runner-{number}", **differences)


@given(fleet=st.lists(_HINDRANCES, max_size=4), has_license=st.booleans())
def test_readiness_holds_together_for_any_fleet(fleet: list[list[str]], has_license: bool) -> None:
    candidates = [_runner_that_is(number, hindrances) for number, hindrances in enumerate(fleet)]

    readiness: Readiness = assess(question(*candidates, license=license_() if has_license else NO_LICENSE))

    assert readiness.ready is (has_license and [] in fleet)
    assert readiness.ready is all(check.ok for check in readiness.checks)
    assert readiness.ready is (readiness.primary_blocker is None) is (readiness.reason is None)
    if readiness.ready:
        assert readiness.visibility_ok
        assert readiness.runner_ok
        assert readiness.capacity_ok
        assert fleet[int(str(readiness.selected_runner_id).removeprefix("runner-"))] == []


def test_roll_call_keeps_scans_back_until_its_last_runner_has_answered_or_it_is_over() -> None:
    called = [named("north"), named("south", **CALLED, **SILENT), named("west", roll_call_until=NOW + seconds(100))]

    waiting, over = assess(question(*called)), assess(question(named("north"), named("south", roll_call_until=NOW)))

    assert (waiting.primary_blocker, waiting.selected_runner_id) == (CheckCode.RUNNER_ACCEPTING, "north")
    assert "before south, west have said what they run" in (waiting.reason or "")
    assert waiting.estimated_start_at == NOW + seconds(200)
    assert over.ready


def test_roll_call_is_no_time_to_wait_for_where_nobody_accepts_scans() -> None:
    told = assess(question(named("north", **PAUSED), named("south", **CALLED, **SILENT)))

    assert told.reason == "north is paused and takes no new scan."
    assert told.estimated_start_at is None
