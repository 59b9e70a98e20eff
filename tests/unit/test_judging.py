"""Which ended scans a build may take for a pass."""

from __future__ import annotations

import pytest

from apviso.cli.judging import judge
from apviso.protocol.findings import Finding, RetestResult
from apviso.protocol.scan_events import Coverage
from apviso.protocol.scans import Scan
from apviso.protocol.states import EndReason, RetestOutcome, ScanStatus, Severity, UserStatus
from apviso.server.openapi_examples import FINDING_SHOWN, SCAN_SHOWN

WHOLE, PARTIAL = Coverage(complete=True), Coverage(complete=False, reasons=["the budget of requests was used up"])


def scan(status: ScanStatus = ScanStatus.COMPLETED, coverage: Coverage | None = WHOLE, reason: EndReason = EndReason.COMPLETED) -> Scan:
    return SCAN_SHOWN.model_copy(update={"status": status, "coverage": coverage, "end_reason": reason})


def finding(severity: Severity, status: UserStatus = UserStatus.OPEN) -> Finding:
    return FINDING_SHOWN.model_copy(update={"severity": severity, "user_status": status})


@pytest.mark.parametrize("allow_partial", [True, False])
@pytest.mark.parametrize(
    "ended",
    [
        scan(ScanStatus.FAILED, PARTIAL, EndReason.TARGET_UNREACHABLE),
        scan(ScanStatus.FAILED, WHOLE, EndReason.RUNNER_LOST),
        scan(ScanStatus.CANCELLED, None, EndReason.CANCELED_BY_USER),
        scan(ScanStatus.PREFLIGHT_FAILED, None, EndReason.PREFLIGHT_FAILED),
    ],
)
def test_scan_that_did_not_complete_is_never_a_pass_and_says_how_it_ended(ended: Scan, allow_partial: bool) -> None:
    verdict = judge(ended, (), None, allow_partial=allow_partial)

    assert not verdict.passes
    assert str(ended.end_reason) in verdict.problems[0]


@pytest.mark.parametrize("coverage", [PARTIAL, Coverage(complete=False), None])
def test_scan_that_is_partial_is_a_pass_only_where_that_is_allowed(coverage: Coverage | None) -> None:
    refused = judge(scan(coverage=coverage), (), Severity.HIGH, allow_partial=False)
    allowed = judge(scan(coverage=coverage), (), Severity.HIGH, allow_partial=True)

    assert (refused.passes, allowed.passes) == (False, True)
    assert refused.problems == allowed.notes
    assert "partial" in refused.problems[0]


@pytest.mark.parametrize(
    ("fail_on", "found", "passes"),
    [
        (Severity.HIGH, Severity.CRITICAL, False),
        (Severity.HIGH, Severity.HIGH, False),
        (Severity.HIGH, Severity.MEDIUM, True),
        (Severity.INFO, Severity.INFO, False),
        (Severity.CRITICAL, Severity.HIGH, True),
        (None, Severity.CRITICAL, True),
    ],
)
def test_finding_at_or_above_the_limit_is_no_pass(fail_on: Severity | None, found: Severity, passes: bool) -> None:
    assert judge(scan(), [finding(found)], fail_on, allow_partial=False).passes == passes


@pytest.mark.parametrize(
    ("status", "passes"),
    [
        (UserStatus.OPEN, False),
        (UserStatus.IN_PROGRESS, False),
        (UserStatus.FIXED, False),
        (UserStatus.ACCEPTED_RISK, True),
        (UserStatus.FALSE_POSITIVE, True),
    ],
)
def test_finding_that_a_person_has_settled_does_not_count_and_is_told(status: UserStatus, passes: bool) -> None:
    verdict = judge(scan(), [finding(Severity.HIGH, status)], Severity.HIGH, allow_partial=False)

    assert verdict.passes == passes
    assert bool(verdict.notes) == passes


@pytest.mark.parametrize(
    ("outcome", "status", "passes"),
    [
        (RetestOutcome.FIXED, UserStatus.FIXED, True),
        (RetestOutcome.STILL_OPEN, UserStatus.OPEN, False),
        (RetestOutcome.STILL_OPEN, UserStatus.FALSE_POSITIVE, True),
        (RetestOutcome.COULD_NOT_CHECK, UserStatus.IN_PROGRESS, False),
        (None, UserStatus.OPEN, False),
    ],
)
def test_retest_is_a_pass_where_each_finding_is_fixed_or_settled(outcome: RetestOutcome | None, status: UserStatus, passes: bool) -> None:
    result = RetestResult(
        finding_id=FINDING_SHOWN.id, title="A flaw", severity=Severity.LOW, user_status=status, outcome=outcome, reason="Because."
    )

    verdict = judge(scan(), (), None, [result], allow_partial=False)

    assert verdict.passes == passes
    assert passes or "A flaw: Because." in verdict.problems[0]
