"""Writes the Markdown report of an ended scan. Text from a scanned site stays text: it is escaped or fenced, never markup. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime

from pydantic import JsonValue

from apviso.protocol.findings import Finding
from apviso.protocol.scans import Scan
from apviso.protocol.states import ScanStatus, Severity
from apviso.protocol.targets import JobTarget
from apviso.protocol.wire import format_instant

# What no scanner of this product finds; said in every report, so that silence is not taken for proof.
NOT_LOOKED_AT = (
    "Logic flaws: broken object-level authorization, mass assignment, enumeration of identities, missing rate limits. "
    "No automated tool here finds them; test them by hand."
)
_MARKUP = re.compile(r"([\\`*_{}\[\]()<>#+\-.!|~&$:@/])")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def plain(text: str) -> str:
    """One line of hostile text as Markdown that shows exactly these characters."""
    return _MARKUP.sub(r"\\\1", _visible(text).replace("\n", " ").replace("\t", " "))


def fenced(text: str) -> str:
    """Hostile text as a code block that it cannot close."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{_visible(text)}\n{fence}"


def _visible(text: str) -> str:
    return _CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", text.replace("\r\n", "\n"))


def verdict(scan: Scan) -> str:
    """`complete`, `partial` or the way the scan ended; only a complete scan without findings is clean."""
    if scan.status is ScanStatus.COMPLETED:
        return "complete" if scan.coverage is not None and scan.coverage.complete else "partial"
    return str(scan.status)


def summary(scan: Scan, findings: Sequence[Finding]) -> dict[str, JsonValue]:
    """The figures of the report, for programs."""
    counts: dict[str, JsonValue] = {severity: sum(finding.severity is severity for finding in findings) for severity in Severity}
    return {
        "verdict": verdict(scan),
        "clean": verdict(scan) == "complete" and not findings,
        "status": scan.status,
        "endReason": scan.end_reason,
        "findingCounts": counts,
        "falsePositives": scan.false_positives,
        "requests": scan.progress.requests,
        "coverage": scan.coverage.model_dump(mode="json", by_alias=True) if scan.coverage else None,
    }


def markdown(scan: Scan, target: JobTarget, findings: Sequence[Finding], now: datetime) -> str:
    """The whole report: what was scanned, how far it looked, what it found, worst first."""
    parts = [
        f"# Security test of {plain(target.domain)}",
        _facts(scan, target, now),
        "## Result",
        _result(scan, findings),
        "## Coverage",
        _coverage(scan),
        "## Findings",
        *(_finding(number, finding) for number, finding in enumerate(findings, 1)),
    ]
    if not findings:
        parts.append("None were recorded.")
    return "\n\n".join(parts) + "\n"


def _facts(scan: Scan, target: JobTarget, now: datetime) -> str:
    rows = {
        "Target": plain(target.scan_url),
        "Scan": scan.id,
        "Preset": scan.model_preset,
        "Started": format_instant(scan.started_at) if scan.started_at else "never",
        "Ended": format_instant(scan.finished_at) if scan.finished_at else "not yet",
        "Requests": str(scan.progress.requests),
        "Report made": format_instant(now),
    }
    return "\n".join(["| | |", "| --- | --- |", *(f"| {name} | {value} |" for name, value in rows.items())])


def _result(scan: Scan, findings: Sequence[Finding]) -> str:
    counts = ", ".join(f"{sum(f.severity is severity for f in findings)} {severity}" for severity in Severity)
    match verdict(scan):
        case "complete":
            return f"The scan looked at everything it was meant to look at. Findings: {counts}."
        case "partial":
            return f"**The scan is partial: what it did not look at may hold more.** Findings so far: {counts}."
        case _:
            reason = plain(scan.status_reason) if scan.status_reason else "no further reason was given"
            return f"**The scan did not complete ({scan.status}, {scan.end_reason}): {reason}.** Findings so far: {counts}."


def _coverage(scan: Scan) -> str:
    reasons = scan.coverage.reasons if scan.coverage else ["The scan reported no coverage."]
    listed = "\n".join(f"- {plain(reason)}" for reason in reasons) or "- Nothing kept the scan from looking."
    return f"{listed}\n- Not looked at: {NOT_LOOKED_AT}"


def _finding(number: int, finding: Finding) -> str:
    where = f"{plain(finding.method)} {plain(finding.url)}" + (f", parameter {plain(finding.parameter)}" if finding.parameter else "")
    score = f"CVSS {finding.cvss_score} ({plain(finding.cvss_vector or '')})" if finding.cvss_score is not None else "no CVSS score"
    weakness = f"CWE-{finding.cwe_id}" if finding.cwe_id else "no CWE"
    lines = [
        f"### {number}. {plain(finding.title)}",
        f"**{finding.severity}**, {score}, {weakness}, found by {plain(', '.join(finding.detectors))}",
        f"Where: {where}",
    ]
    for title, text in (("What it means", finding.description), ("Remedy", finding.remediation)):
        if text:
            lines.append(f"{title}: {plain(text)}")
    if finding.evidence:
        lines += ["Evidence:", fenced(finding.evidence)]
    if finding.reproduction:
        lines += ["To reproduce:", fenced("\n".join(finding.reproduction))]
    return "\n\n".join(lines)
