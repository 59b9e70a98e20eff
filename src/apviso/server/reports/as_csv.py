"""Writes a report as a table for spreadsheets: a row for the scan, one for each gap, each finding and each finding of before. Pure."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

from apviso.protocol.reports import PastFinding, ReportDocument, ReportedRetest, ReportFinding
from apviso.protocol.wire import format_instant
from apviso.server.findings.export import as_text

# The first row is always the scan's: a table without findings would look clean, whatever kept the scan from looking.
COLUMNS = (
    "record", "verdict", "severity", "title", "method", "url", "parameter", "cwe", "cvssScore", "cvssVector", "description", "evidence",
    "reproduction", "remediation", "detectors", "userStatus", "sincePrevious", "firstSeenAt", "scanId", "findingId", "fingerprint",
)  # fmt: skip


def render(document: ReportDocument) -> str:
    written = io.StringIO()
    table = csv.DictWriter(written, COLUMNS, restval="", quoting=csv.QUOTE_ALL, lineterminator="\r\n")
    table.writeheader()
    for row in _rows(document):
        told = {"verdict": document.verdict, "scanId": document.scan.id, **row}
        table.writerow({name: as_text(text) for name, text in told.items()})
    return written.getvalue()


def _rows(document: ReportDocument) -> Iterator[dict[str, str]]:
    yield {"record": "scan", "title": document.title, "url": document.target.scan_url, "description": document.headline}
    yield from ({"record": "coverage", "description": text} for text in document.coverage.remarks)
    yield from ({"record": "not_looked_at", "description": text} for text in document.coverage.not_looked_at)
    yield from (_retested(result) for result in (document.retest.results if document.retest is not None else ()))
    yield from (_finding(finding) for finding in document.findings)
    if document.findings_left_out:
        yield {"record": "left_out", "description": f"{document.findings_left_out} more findings are not listed."}
    for past in document.comparison.past if document.comparison is not None else ():
        yield {"record": past.fate, **_known(past)}


def _retested(result: ReportedRetest) -> dict[str, str]:
    return {"record": f"retest_{result.outcome}", "description": result.reason, **_known(result)}


def _known(finding: PastFinding | ReportedRetest) -> dict[str, str]:
    return {
        "severity": finding.severity,
        "title": finding.title,
        "method": finding.method,
        "url": finding.url,
        "parameter": finding.parameter or "",
        "cwe": str(finding.cwe_id or ""),
        "findingId": finding.id,
        "fingerprint": finding.fingerprint,
    }


def _finding(finding: ReportFinding) -> dict[str, str]:
    return {
        "record": "finding",
        "severity": finding.severity,
        "title": finding.title,
        "method": finding.method,
        "url": finding.url,
        "parameter": finding.parameter or "",
        "cwe": str(finding.cwe_id or ""),
        "cvssScore": "" if finding.cvss_score is None else str(finding.cvss_score),
        "cvssVector": finding.cvss_vector or "",
        "description": finding.description,
        "evidence": finding.evidence,
        "reproduction": "\n".join(finding.reproduction),
        "remediation": finding.remediation,
        "detectors": ", ".join(finding.detectors),
        "userStatus": finding.user_status,
        "sincePrevious": finding.since_previous or "",
        "firstSeenAt": format_instant(finding.first_seen_at),
        "findingId": finding.id,
        "fingerprint": finding.fingerprint,
    }
