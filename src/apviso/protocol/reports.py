"""The report of an ended scan as data: what each of its formats is made from, and what its JSON holds."""

from __future__ import annotations

from typing import Literal

from apviso.protocol.findings import Finding, FindingCounts, RetestCounts
from apviso.protocol.states import EndReason, ModelPreset, RetestOutcome, ScanStatus, Severity
from apviso.protocol.targets import JobTarget
from apviso.protocol.wire import FindingId, Instant, RunnerId, ScanId, Wire


class ReportedScan(Wire):
    id: ScanId
    status: ScanStatus
    status_reason: str | None
    end_reason: EndReason | None
    model_preset: ModelPreset
    is_retest: bool
    attempt: int
    runner_id: RunnerId | None
    scan_image_digest: str | None
    requests: int
    created_at: Instant
    started_at: Instant | None
    finished_at: Instant | None


class ReportCoverage(Wire):
    """`remarks` come from the scan: gaps where `complete` is false. `not_looked_at` is what no scan of this kind looks at."""

    complete: bool
    remarks: list[str]
    not_looked_at: list[str]


class ReportFinding(Finding):
    """As the scan saw it. `is_shortened`: its long texts had no room in the report."""

    since_previous: Literal["new", "still_there"] | None = None
    is_shortened: bool = False


class PastFinding(Wire):
    """What the previous scan saw and this one did not: `gone`, or merely `not_seen` where this scan may not have looked."""

    id: FindingId
    fingerprint: str
    title: str
    severity: Severity
    cwe_id: int | None
    url: str
    method: str
    parameter: str | None
    fate: Literal["gone", "not_seen"]


class ReportedRetest(Wire):
    """One finding that was tested again, and why it ended so."""

    id: FindingId
    fingerprint: str
    title: str
    severity: Severity
    cwe_id: int | None
    url: str
    method: str
    parameter: str | None
    outcome: RetestOutcome
    reason: str


class ReportRetest(Wire):
    """What a retest was for: each of its findings, those that are not mended first."""

    counts: RetestCounts
    results: list[ReportedRetest]


class ReportComparison(Wire):
    """With the last scan of the target before this one that looked and was no retest."""

    previous_scan_id: ScanId
    previous_finished_at: Instant | None
    new: int
    still_there: int
    gone: int
    not_seen: int
    past: list[PastFinding]
    caveats: list[str]


class ReportDocument(Wire):
    """Texts of a scanned site are in it as text, with control characters written out as `\\u....`.

    The first sentence of `summary` says how many findings there are, the last one what the comparison comes to."""

    schema_version: Literal[1] = 1
    generator: str
    title: str
    as_of: Instant
    verdict: str
    clean: bool
    headline: str
    summary: list[str]
    scan: ReportedScan
    target: JobTarget
    scope: list[str]
    method: list[str]
    coverage: ReportCoverage
    finding_counts: FindingCounts
    findings: list[ReportFinding]
    findings_left_out: int
    comparison: ReportComparison | None
    retest: ReportRetest | None = None
