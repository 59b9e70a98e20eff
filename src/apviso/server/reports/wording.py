"""The words that every format of a report shares, and how hostile text is made visible. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

from apviso.protocol.findings import Finding, FindingCounts
from apviso.protocol.limits import Limits
from apviso.protocol.reports import PastFinding, ReportComparison, ReportDocument, ReportedRetest, ReportFinding, ReportRetest
from apviso.protocol.scans import Scan
from apviso.protocol.states import ScanStatus, Severity

MOST_IN_A_SENTENCE = 160
COMPLETE, PARTIAL = "complete", "partial"
# What no scanner of this product finds; said in every report, so that silence is not taken for proof.
LOGIC_FLAWS = (
    "Logic flaws: broken object-level authorization, mass assignment, enumeration of identities, missing rate limits. "
    "No automated tool here finds them; test them by hand."
)
SHORTENED = "Description, evidence, steps and remedy had no room in this report; the API has them."
# Control characters but tab and line feed, line ends of other kinds, marks without width, and what turns the direction of text around.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb]")


def visible(text: str) -> str:
    """The same text, in which what could not be seen, or changes how the rest is seen, is written out."""
    return _CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", text.replace("\r\n", "\n"))


def in_one_line(text: str) -> str:
    return visible(text).replace("\n", " ").replace("\t", " ")


def cut(text: str) -> str:
    """The beginning of a text, for a sentence that must stay one."""
    line = in_one_line(text)
    return line if len(line) <= MOST_IN_A_SENTENCE else f"{line[: MOST_IN_A_SENTENCE - 1]}…"


def verdict_of(scan: Scan) -> str:
    """`complete`, `partial` or the way the scan ended; only a complete scan without findings is clean."""
    if scan.status is ScanStatus.COMPLETED:
        return COMPLETE if scan.coverage is not None and scan.coverage.complete else PARTIAL
    return str(scan.status)


def headline(scan: Scan) -> str:
    """What the reader must know before anything else."""
    match verdict_of(scan):
        case "complete" if scan.is_retest:
            return "The retest looked for each of its findings, and for nothing else."
        case "partial" if scan.is_retest:
            return "The retest is partial: what it could not check may still be there."
        case "complete":
            return "The scan looked at everything it was meant to look at."
        case "partial":
            return "The scan is partial: what it did not look at may hold more."
        case verdict:
            reason = in_one_line(scan.status_reason).rstrip(".") if scan.status_reason else "no further reason was given"
            return f"The scan did not complete ({verdict}, {scan.end_reason}): {reason}. What it did not look at may hold anything."


def counted(counts: FindingCounts) -> str:
    return ", ".join(f"{getattr(counts, severity)} {severity}" for severity in Severity)


def total(counts: FindingCounts) -> int:
    return sum(getattr(counts, severity) for severity in Severity)


def result(verdict: str, counts: FindingCounts) -> str:
    """How many findings, without calling a scan clean that did not look at everything."""
    if total(counts):
        return f"{'Findings' if verdict == COMPLETE else 'Findings so far'}: {counted(counts)}."
    if verdict == COMPLETE:
        return "It found nothing."
    return "It recorded no finding, which proves nothing: it did not look at everything."


def worst(findings: Sequence[ReportFinding]) -> list[str]:
    """One sentence on each of the first few findings that are grave."""
    grave = [finding for finding in findings if finding.severity in (Severity.CRITICAL, Severity.HIGH)][:3]
    return [f"{finding.severity.capitalize()}: {cut(finding.title)}, at {cut(place(finding))}." for finding in grave]


def texts_of_place(finding: Finding) -> dict[str, str | None]:
    """Where a finding is, each part in one line."""
    parameter = None if finding.parameter is None else in_one_line(finding.parameter)
    return {"url": in_one_line(finding.url), "method": in_one_line(finding.method), "parameter": parameter}


def place(finding: ReportFinding | PastFinding | ReportedRetest) -> str:
    return f"{finding.method} {finding.url}".strip() + (f", parameter {finding.parameter}" if finding.parameter else "")


def grading(finding: ReportFinding) -> str:
    score = f"CVSS {finding.cvss_score} ({finding.cvss_vector or 'no vector'})" if finding.cvss_score is not None else "no CVSS score"
    return f"{score}, {weakness(finding)}"


def weakness(finding: ReportFinding) -> str:
    return f"CWE-{finding.cwe_id}" if finding.cwe_id else "no CWE"


def compared(comparison: ReportComparison | None) -> str:
    if comparison is None:
        return "There is no earlier scan of this target to compare with."
    parts = [f"{comparison.new} new", f"{comparison.still_there} still there", f"{comparison.gone} gone"]
    if comparison.not_seen:
        parts.append(f"{comparison.not_seen} not seen this time, which does not prove that they are gone")
    caution = " Mind the caveats of this comparison." if comparison.caveats else ""
    return f"Since the scan before: {', '.join(parts)}.{caution}"


def scope(limits: Limits, scan: Scan) -> list[str]:
    """What the scan was allowed to do. The local scope of the runner's host may have been narrower."""
    return [
        "Only the host and port of the target; the runner refuses every other address.",
        f"At most {limits.max_requests} requests, {limits.requests_per_second:g} a second, within {limits.max_run_seconds // 60} minutes "
        f"(preset {scan.model_preset}).",
        f"HTTP methods: {', '.join(limits.methods)}, unless the local scope file of the runner's host names others.",
    ]


def method(scan: Scan, detectors: Sequence[str]) -> list[str]:
    told = [
        "Automated test from outside: a runner beside the target ran scanners, and each of their requests went through a guard that keeps "
        "to address, methods, rate, budget and excluded paths.",
        f"Requests that reached the target: {scan.progress.requests}. Attempts: {scan.attempt}.",
        f"Scan image: {scan.scan_image_digest}." if scan.scan_image_digest else "The scanners were the runner's own.",
    ]
    if detectors:
        told.append(f"Findings come from: {in_one_line(', '.join(detectors))}.")
    if scan.is_retest:
        told.append("It was a retest of findings that were known before.")
    told.append("A CVSS vector is often the default of its class of flaw; adjust it to what the application protects.")
    return told


def not_looked_at(limits: Limits, scan: Scan) -> list[str]:
    verdict = verdict_of(scan)
    told = [LOGIC_FLAWS, f"Paths with one of these words, unless a person opted in to them: {', '.join(limits.exclude_paths)}."]
    if scan.is_retest:
        told.append("Everything but the findings that were to be tested again.")
    if verdict == PARTIAL:
        told.append("What the remarks of the scan name as gaps.")
    elif verdict != COMPLETE:
        told.append("Everything that the scan had not come to when it ended.")
    return told


def as_of(document: ReportDocument) -> str:
    return "The status of findings is as of the moment at which this report was written; what is decided later does not change it."


def left_out(document: ReportDocument) -> str | None:
    if not document.findings_left_out:
        return None
    return f"{document.findings_left_out} more findings, the least severe ones, are not listed here; the API has them."


def silenced(false_positives: int) -> list[str]:
    """What people have called no flaw."""
    return [f"Left out because people call them false positives: {false_positives}."] if false_positives else []


def retested(retest: ReportRetest | None) -> list[str]:
    """How the findings ended that were to be tested again."""
    if retest is None:
        return []
    counts = retest.counts
    told = f"fixed: {counts.fixed}, still open: {counts.still_open}, could not be checked: {counts.could_not_check}"
    return [f"Of the findings that were to be tested again, {told}."]
