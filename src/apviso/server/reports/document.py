"""Puts the report of an ended scan together: one document for all formats, bounded, hostile text made visible. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from pydantic import JsonValue

from apviso.protocol.findings import Finding
from apviso.protocol.limits import PRESETS
from apviso.protocol.reports import ReportCoverage, ReportDocument, ReportedScan, ReportFinding
from apviso.protocol.scans import Scan
from apviso.protocol.states import RetestOutcome
from apviso.protocol.targets import JobTarget
from apviso.protocol.wire import FindingId
from apviso.server.reports import wording
from apviso.server.reports.comparison import Previous, compare
from apviso.server.reports.retested import Ended, retest_of
from apviso.server.reports.wording import COMPLETE, visible

# A report beyond this is read by nobody; the rest is told as a number and stays in the API.
MAX_REPORTED = 1_000
# Characters of all long texts together. The worst findings come first, and get theirs whole.
TEXT_ROOM = 1_000_000


def build(
    scan: Scan,
    target: JobTarget,
    findings: Sequence[Finding],
    previous: Previous | None,
    now: datetime,
    generator: str,
    remarks: Sequence[str] = (),
    retested: Sequence[Ended] | None = None,
) -> ReportDocument:
    """The report of `scan` as of `now`. `findings` are the worst that it saw, worst first, at most MAX_REPORTED; `remarks` are sentences
    for its summary; `retested` is what a retest was for."""
    verdict, missing = wording.verdict_of(scan), wording.total(scan.finding_counts) - len(findings)
    limits, title = PRESETS[scan.model_preset], f"Security test of {wording.in_one_line(target.domain)}"
    fixed = {finding.id for finding, outcome, _ in retested or () if outcome is RetestOutcome.FIXED}
    comparison = None if previous is None else compare(scan, findings, previous, is_whole=missing <= 0, fixed=fixed)
    retest = None if retested is None else retest_of(retested)
    shown = _shown(findings, None if previous is None else {finding.id for finding in previous.findings})
    detectors = sorted({detector for finding in shown for detector in finding.detectors})
    return ReportDocument(
        generator=generator,
        title=title,
        as_of=now,
        verdict=verdict,
        # Whatever a retest has seen mended, it has not looked for anything else.
        clean=verdict == COMPLETE and not wording.total(scan.finding_counts) and not scan.is_retest,
        headline=wording.headline(scan),
        summary=[
            wording.result(verdict, scan.finding_counts),
            *wording.worst(shown),
            *wording.retested(retest),
            *remarks,
            wording.compared(comparison),
        ],
        scan=_scan(scan),
        target=target,
        scope=wording.scope(limits, scan),
        method=wording.method(scan, detectors),
        coverage=_coverage(scan, wording.not_looked_at(limits, scan)),
        finding_counts=scan.finding_counts,
        findings=shown,
        findings_left_out=max(0, missing),
        comparison=comparison,
        retest=retest,
    )


def summary(document: ReportDocument) -> dict[str, JsonValue]:
    """The figures of the report, for programs."""
    compared = document.comparison
    told: dict[str, JsonValue] = {
        "verdict": document.verdict,
        "clean": document.clean,
        "status": document.scan.status,
        "endReason": document.scan.end_reason,
        "findingCounts": document.finding_counts.model_dump(mode="json", by_alias=True),
        "requests": document.scan.requests,
        "coverage": {"complete": document.coverage.complete, "reasons": list(document.coverage.remarks)},
        "comparison": None,
    }
    if compared is not None:
        kept = {"previous_scan_id", "new", "still_there", "gone", "not_seen"}
        told["comparison"] = compared.model_dump(mode="json", by_alias=True, include=kept)
    if document.retest is not None:
        told["retest"] = document.retest.counts.model_dump(mode="json", by_alias=True)
    return told


def _scan(scan: Scan) -> ReportedScan:
    told = {name: getattr(scan, name) for name in ReportedScan.model_fields if name not in ("requests", "status_reason")}
    reason = None if scan.status_reason is None else visible(scan.status_reason)
    return ReportedScan(**told, requests=scan.progress.requests, status_reason=reason)


def _coverage(scan: Scan, not_looked_at: list[str]) -> ReportCoverage:
    said = scan.coverage
    remarks = ["The scan reported no coverage."] if said is None else [wording.in_one_line(reason) for reason in said.reasons]
    complete = wording.verdict_of(scan) == COMPLETE
    return ReportCoverage(complete=complete, remarks=remarks, not_looked_at=not_looked_at)


def _shown(findings: Sequence[Finding], before: set[FindingId] | None) -> list[ReportFinding]:
    room, shown = TEXT_ROOM, []
    for finding in findings:
        needed = sum(map(len, (finding.description, finding.evidence, finding.remediation, *finding.reproduction)))
        fits = needed <= room
        room -= needed if fits else 0
        since = None if before is None else ("still_there" if finding.id in before else "new")
        shown.append(ReportFinding(**_texts(finding, whole=fits), since_previous=since, is_shortened=not fits))
    return shown


def _texts(finding: Finding, *, whole: bool) -> dict[str, object]:
    told = {name: getattr(finding, name) for name in Finding.model_fields}
    for name in ("title", "url", "method", "parameter", "cvss_vector"):
        told[name] = None if told[name] is None else wording.in_one_line(told[name])
    for name in ("description", "evidence", "remediation"):
        told[name] = visible(told[name])
    told["detectors"] = [wording.in_one_line(detector) for detector in finding.detectors]
    told["reproduction"] = [visible(step) for step in finding.reproduction]
    if not whole:
        told |= {"description": "", "evidence": "", "remediation": "", "reproduction": []}
    return told
