"""Decides what is new, still there and gone since the scan before, and what cannot be said. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from apviso.protocol.findings import Finding
from apviso.protocol.reports import PastFinding, ReportComparison
from apviso.protocol.scans import Scan
from apviso.protocol.states import ModelPreset
from apviso.protocol.wire import FindingId, ScanId
from apviso.server.reports.wording import COMPLETE, in_one_line, texts_of_place, verdict_of

_SIZES = list(ModelPreset)


@dataclass(frozen=True)
class Previous:
    """The last scan of the target before this one that looked and was no retest. `is_whole`: `findings` are all that it saw."""

    id: ScanId
    finished_at: datetime | None
    preset: ModelPreset
    is_complete: bool
    findings: Sequence[Finding]
    is_whole: bool = True


def compare(
    scan: Scan, findings: Sequence[Finding], previous: Previous, *, is_whole: bool, fixed: Collection[FindingId] = ()
) -> ReportComparison:
    """`findings` are what `scan` saw, and all of it where `is_whole`; `fixed` is what a retest has found to be so."""
    before, now = _ids(previous.findings), _ids(findings)
    doubts = _doubts_about_gone(scan, previous, is_whole)
    past = [_past(finding, is_sure=not doubts or finding.id in fixed) for finding in previous.findings if finding.id not in now]
    gone = sum(one.fate == "gone" for one in past)
    return ReportComparison(
        previous_scan_id=previous.id,
        previous_finished_at=previous.finished_at,
        new=len(now - before),
        still_there=len(now & before),
        gone=gone,
        not_seen=len(past) - gone,
        past=past,
        caveats=[*doubts, *_doubts_about_new(scan, previous)],
    )


def _ids(findings: Sequence[Finding]) -> set[FindingId]:
    return {finding.id for finding in findings}


def _doubts_about_gone(scan: Scan, previous: Previous, is_whole: bool) -> list[str]:
    found = []
    if verdict_of(scan) != COMPLETE:
        found.append("This scan did not look at everything, so what it did not see may still be there.")
    if _SIZES.index(scan.model_preset) < _SIZES.index(previous.preset):
        found.append(f"This scan looked less deeply ({scan.model_preset}) than the one before ({previous.preset}).")
    if scan.is_retest:
        found.append("This scan was a retest: it looked for the findings that it was to test again, and for nothing else.")
    if not is_whole:
        found.append("This scan has more findings than a report lists.")
    return found


def _doubts_about_new(scan: Scan, previous: Previous) -> list[str]:
    looked_less = _SIZES.index(previous.preset) < _SIZES.index(scan.model_preset)
    if previous.is_complete and previous.is_whole and not looked_less:
        return []
    return ["The scan before looked at less, so what is new here may have been there already."]


def _past(finding: Finding, *, is_sure: bool) -> PastFinding:
    return PastFinding(
        id=finding.id,
        fingerprint=finding.fingerprint,
        title=in_one_line(finding.title),
        severity=finding.severity,
        cwe_id=finding.cwe_id,
        fate="gone" if is_sure else "not_seen",
        **texts_of_place(finding),
    )
