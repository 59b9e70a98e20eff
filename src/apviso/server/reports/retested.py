"""Shows how each finding of a retest ended and why, those that are not mended first. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from apviso.protocol.findings import Finding, RetestCounts
from apviso.protocol.reports import ReportedRetest, ReportRetest
from apviso.protocol.states import RetestOutcome, Severity
from apviso.server.reports.wording import in_one_line, texts_of_place

# A finding as it is known, how it ended, and the reason in one sentence, which may quote the scanned site.
Ended = tuple[Finding, RetestOutcome, str]
_ORDER = (RetestOutcome.STILL_OPEN, RetestOutcome.COULD_NOT_CHECK, RetestOutcome.FIXED)
_RANKS = {severity: rank for rank, severity in enumerate(Severity)}


def retest_of(ended: Sequence[Ended]) -> ReportRetest:
    counted = Counter(str(outcome) for _, outcome, _ in ended)
    worst_first = sorted(ended, key=lambda one: (_ORDER.index(one[1]), _RANKS[one[0].severity], one[0].id))
    return ReportRetest(counts=RetestCounts(**counted), results=[_result(*one) for one in worst_first])


def _result(finding: Finding, outcome: RetestOutcome, reason: str) -> ReportedRetest:
    return ReportedRetest(
        id=finding.id,
        fingerprint=finding.fingerprint,
        title=in_one_line(finding.title),
        severity=finding.severity,
        cwe_id=finding.cwe_id,
        outcome=outcome,
        reason=in_one_line(reason),
        **texts_of_place(finding),
    )
