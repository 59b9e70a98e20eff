from __future__ import annotations

import pytest

from apviso.protocol.limits import Limits
from apviso.protocol.scan_events import CoverageLine
from apviso.protocol.states import EndReason
from apviso.scanning.guard import GuardCounters
from apviso.scanning.verdict import ScanExit, judge

LIMITS = Limits(max_run_seconds=60, max_requests=1_000, requests_per_second=10)
LOOKED = CoverageLine(complete=True, pages=12)
WELL = GuardCounters(requests=500, answers={"2xx": 400, "3xx": 50, "4xx": 40, "5xx": 10}, bytes=1_000)


def counters(**changes: object) -> GuardCounters:
    return WELL.model_copy(update=changes)


def test_scan_that_looked_at_everything_is_completed_and_complete() -> None:
    verdict = judge(0, LOOKED, WELL, LIMITS)

    assert (verdict.status, verdict.end_reason) == ("completed", EndReason.COMPLETED)
    assert (verdict.coverage.complete, verdict.coverage.reasons) == (True, [])


@pytest.mark.parametrize(
    ("exit_code", "said", "counted", "end_reason"),
    [
        (ScanExit.TARGET_UNREACHABLE, None, WELL, EndReason.TARGET_UNREACHABLE),
        (ScanExit.AUTH_FAILED, None, counters(answers={"4xx": 1}, requests=1), EndReason.AUTH_FAILED),
        (ScanExit.SCANNER_FAILED, None, WELL, EndReason.SCANNER_FAILED),
        (ScanExit.SCANNER_MISSING, None, GuardCounters(), EndReason.ENGINE_UNAVAILABLE),
        (ScanExit.RUN_TIMEOUT, None, WELL, EndReason.RUN_TIMEOUT),
        (ScanExit.INVALID_ORDER, None, GuardCounters(), EndReason.INVALID_CONFIG),
        (None, None, WELL, EndReason.RUN_TIMEOUT),
        (None, LOOKED, WELL, EndReason.RUN_TIMEOUT),
        (-9, LOOKED, WELL, EndReason.SCANNER_FAILED),
        (1, LOOKED, WELL, EndReason.SCANNER_FAILED),
        (0, None, WELL, EndReason.SCANNER_FAILED),
        (0, CoverageLine(complete=True, pages=0), WELL, EndReason.SCANNER_FAILED),
        (0, LOOKED, GuardCounters(), EndReason.SCANNER_FAILED),
        (0, LOOKED, counters(answers={}, connect_errors=500), EndReason.TARGET_UNREACHABLE),
        (0, LOOKED, counters(answers={"5xx": 500}), EndReason.TARGET_UNREACHABLE),
        (0, LOOKED, counters(answers={"4xx": 499, "5xx": 1}), EndReason.TARGET_UNREACHABLE),
        (0, LOOKED, counters(answers={"4xx": 500, "429": 500}), EndReason.TARGET_UNREACHABLE),
        (None, None, counters(answers={}), EndReason.TARGET_UNREACHABLE),
        (-9, None, counters(answers={}), EndReason.TARGET_UNREACHABLE),
    ],
)
def test_scan_that_could_not_look_is_failed(
    exit_code: int | None, said: CoverageLine | None, counted: GuardCounters, end_reason: EndReason
) -> None:
    verdict = judge(exit_code, said, counted, LIMITS)

    assert (verdict.status, verdict.end_reason) == ("failed", end_reason)
    assert not verdict.coverage.complete
    assert verdict.coverage.reasons[0] == f"{end_reason}: {verdict.message}"


@pytest.mark.parametrize(
    ("said", "counted", "code"),
    [
        (LOOKED, counters(refusals={"budget_spent": 1}), "budget_spent"),
        (LOOKED, counters(requests=1_000), "budget_spent"),
        (LOOKED, counters(refusals={"permit_expired": 3}), "permit_expired"),
        (LOOKED, counters(refusals={"method_not_allowed": 100}), "methods_refused"),
        (LOOKED, counters(refusals={"host_not_allowed": 100}), "off_target_refused"),
        (LOOKED, counters(refusals={"queue_full": 1}), "queue_full"),
        (LOOKED, counters(refusals={"malformed": 1}), "malformed"),
        (LOOKED, counters(connect_errors=50), "unanswered"),
        (LOOKED, counters(requests=40, connect_errors=5, answers={"2xx": 35}), "unanswered"),
        (LOOKED, counters(answers={"2xx": 375, "5xx": 125}), "server_errors"),
        (LOOKED, counters(requests=20, answers={"2xx": 15, "5xx": 5}), "server_errors"),
        (LOOKED, counters(answers={"2xx": 475, "4xx": 25, "429": 25}), "rate_limited"),
        (LOOKED, counters(requests=10, answers={"2xx": 9, "4xx": 1, "429": 1}), "rate_limited"),
        (LOOKED, counters(answers={"2xx": 400, "4xx": 100, "401": 60, "403": 40}), "access_refused"),
        (LOOKED, counters(requests=20, answers={"2xx": 15, "4xx": 5, "403": 5}), "access_refused"),
        (CoverageLine(complete=True, pages=1), counters(refusals={"excluded_path": 1}), "excluded_paths"),
        (CoverageLine(complete=False, reasons=["time_spent: Stopped."], pages=3), WELL, "time_spent"),
        (CoverageLine(complete=False, pages=3), WELL, "scanner_stopped_early"),
    ],
)
def test_scan_with_a_gap_is_completed_and_not_complete(said: CoverageLine, counted: GuardCounters, code: str) -> None:
    verdict = judge(0, said, counted, LIMITS)

    assert (verdict.status, verdict.end_reason, verdict.coverage.complete) == ("completed", EndReason.COMPLETED, False)
    assert [reason.partition(":")[0] for reason in verdict.coverage.reasons] == [code]


@pytest.mark.parametrize(
    "answers",
    [
        {"2xx": 376, "5xx": 124},
        {"2xx": 8, "5xx": 4},
        {"2xx": 480, "4xx": 20, "429": 20},
        {"2xx": 401, "4xx": 99, "401": 50, "403": 49},
        {"2xx": 4, "4xx": 4, "403": 4},
    ],
)
def test_errors_as_a_scanner_provokes_them_leave_the_scan_complete(answers: dict[str, int]) -> None:
    verdict = judge(0, LOOKED, counters(answers=answers), LIMITS)

    assert (verdict.coverage.complete, verdict.coverage.reasons) == (True, [])


def test_remark_of_a_scan_that_says_it_is_complete_is_no_gap() -> None:
    said = CoverageLine(complete=True, reasons=["excluded_paths: The start page links to one."], pages=12)

    verdict = judge(0, said, WELL, LIMITS)

    assert (verdict.coverage.complete, verdict.coverage.reasons) == (True, said.reasons)


def test_single_statuses_are_not_counted_twice() -> None:
    verdict = judge(0, LOOKED, counters(answers={"4xx": 500, "429": 500}), LIMITS)

    assert verdict.message == "The target answered with errors only (500 times 4xx)."


@pytest.mark.parametrize(
    ("refusals", "codes"),
    [
        ({"excluded_path": 400}, ["excluded_paths"]),
        ({"method_not_allowed": 19}, ["methods_refused"]),
        ({"host_not_allowed": 19}, []),
        ({"stranger": 3}, ["strangers_refused"]),
    ],
)
def test_refusals_that_the_rules_are_made_for_leave_the_scan_complete(refusals: dict[str, int], codes: list[str]) -> None:
    verdict = judge(0, LOOKED, counters(refusals=refusals), LIMITS)

    assert verdict.coverage.complete
    assert [reason.partition(":")[0] for reason in verdict.coverage.reasons] == codes


def test_failed_scan_keeps_what_is_known_of_its_gaps() -> None:
    said = CoverageLine(complete=False, reasons=["scanner_failed: No report.", "time_spent: Stopped."])

    verdict = judge(ScanExit.SCANNER_FAILED, said, counters(refusals={"budget_spent": 2}), LIMITS)

    assert [reason.partition(":")[0] for reason in verdict.coverage.reasons] == ["scanner_failed", "budget_spent", "time_spent"]


def test_reasons_of_a_talkative_scan_stay_within_their_bound() -> None:
    said = CoverageLine(complete=False, reasons=[f"r{n}: " + "x" * 490 for n in range(50)], pages=1)

    verdict = judge(ScanExit.SCANNER_FAILED, said, counters(refusals={"budget_spent": 2}), LIMITS)

    assert len(verdict.coverage.reasons) == 50


@pytest.mark.parametrize(
    ("answers", "is_complete"),
    [
        ({"2xx": 20, "5xx": 80}, True),
        ({"2xx": 20, "4xx": 80, "401": 80}, True),
        ({"2xx": 20, "4xx": 80, "403": 80}, False),
        ({"2xx": 80, "4xx": 20, "429": 20}, False),
    ],
)
def test_retest_is_complete_in_spite_of_what_places_with_flaws_answer_anyway(answers: dict[str, int], is_complete: bool) -> None:
    counted = counters(requests=100, answers=answers)

    assert judge(0, LOOKED, counted, LIMITS, is_retest=True).coverage.complete is is_complete
    assert not judge(0, LOOKED, counted, LIMITS).coverage.complete


@pytest.mark.parametrize("changes", [{"requests": 1_000}, {"refusals": {"budget_spent": 1}}, {"refusals": {"permit_expired": 1}}])
def test_retest_with_a_gap_of_the_guards_own_is_not_complete(changes: dict[str, object]) -> None:
    assert not judge(0, LOOKED, counters(**changes), LIMITS, is_retest=True).coverage.complete
