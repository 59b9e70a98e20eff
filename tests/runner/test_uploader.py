"""What one batch of events may carry."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from apviso.protocol.findings import ReportedFinding
from apviso.protocol.scan_events import FindingEvent, LogEvent, ScanEvent
from apviso.protocol.states import Severity
from apviso.runner.uploader import MOST_FINDINGS, with_few_findings

AT = datetime(2026, 5, 3, tzinfo=UTC)


def event(seq: int, is_finding: bool) -> ScanEvent:
    flaw = ReportedFinding(title="Flaw", severity=Severity.LOW)
    return FindingEvent(seq=seq, at=AT, finding=flaw) if is_finding else LogEvent(seq=seq, at=AT, message="hello")


@pytest.mark.parametrize(("findings", "kept"), [(0, 20), (MOST_FINDINGS, MOST_FINDINGS + 20), (MOST_FINDINGS + 1, MOST_FINDINGS + 10)])
def test_batch_of_events_ends_before_one_finding_too_many(findings: int, kept: int) -> None:
    kinds = [False] * 10 + [True] * findings + [False] * 10
    events = [event(seq, is_finding) for seq, is_finding in enumerate(kinds, 1)]

    found = with_few_findings(events)

    assert found == events[:kept]
