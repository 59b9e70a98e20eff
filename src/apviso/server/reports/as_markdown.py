"""Writes a report as Markdown. Text from a scanned site stays text: it is escaped or fenced, never markup. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable

from apviso.protocol.reports import ReportComparison, ReportDocument, ReportFinding, ReportRetest
from apviso.protocol.wire import format_instant
from apviso.server.reports import wording
from apviso.server.reports.wording import COMPLETE, in_one_line, visible

_MARKUP = re.compile(r"([\\`*_{}\[\]()<>#+\-.!|~&$:@/])")


def plain(text: str) -> str:
    """One line of hostile text as Markdown that shows exactly these characters."""
    return _MARKUP.sub(r"\\\1", in_one_line(text))


def fenced(text: str) -> str:
    """Hostile text as a code block that it cannot close."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{visible(text)}\n{fence}"


def render(document: ReportDocument) -> str:
    """The whole report: what it comes to, what was looked at and how, what was found, worst first, and what has changed."""
    emphasis = "" if document.verdict == COMPLETE else "**"
    parts = [
        f"# {plain(document.title)}",
        _facts(document),
        "## Summary",
        f"{emphasis}{plain(document.headline)}{emphasis}",
        _listed(document.summary),
        *_retest(document.retest),
        "## Scope and method",
        _listed([*document.scope, *document.method]),
        "## Coverage",
        _listed(document.coverage.remarks or ["Nothing kept the scan from looking."]),
        "Not looked at:",
        _listed(document.coverage.not_looked_at),
        "## Findings",
        *_findings(document),
        "## Compared with the scan before",
        *_comparison(document.comparison),
        "---",
        plain(wording.as_of(document)),
    ]
    return "\n\n".join(parts) + "\n"


def _listed(texts: Iterable[str]) -> str:
    return "\n".join(f"- {plain(text)}" for text in texts)


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _facts(document: ReportDocument) -> str:
    scan = document.scan
    rows = {
        "Target": plain(document.target.scan_url),
        "Visibility": plain(document.target.visibility),
        "Result": plain(document.verdict),
        "Scan": scan.id,
        "Preset": scan.model_preset,
        "Started": format_instant(scan.started_at) if scan.started_at else "never",
        "Ended": format_instant(scan.finished_at) if scan.finished_at else "not yet",
        "Requests": str(scan.requests),
        "Written": f"{format_instant(document.as_of)} by {plain(document.generator)}",
    }
    return _table(("", ""), rows.items())


def _findings(document: ReportDocument) -> list[str]:
    if not document.findings:
        return [plain(wording.result(document.verdict, document.finding_counts))]
    rows = (
        (str(number), one.severity, plain(one.title), plain(wording.place(one)), plain((one.since_previous or "").replace("_", " ")))
        for number, one in enumerate(document.findings, 1)
    )
    told = [_table(("", "Severity", "Finding", "Where", "Since before"), rows)]
    told += [_finding(number, finding) for number, finding in enumerate(document.findings, 1)]
    if (left_out := wording.left_out(document)) is not None:
        told.append(plain(left_out))
    return told


def _finding(number: int, finding: ReportFinding) -> str:
    detectors = plain(", ".join(finding.detectors)) or "an unnamed detector"
    lines = [
        f"### {number}. {plain(finding.title)}",
        f"**{finding.severity}**, {_grading(finding)}, found by {detectors}",
        f"Where: {plain(wording.place(finding))}",
        f"Status: {plain(finding.user_status)}, first seen {format_instant(finding.first_seen_at)}",
    ]
    for title, text in (("What it means", finding.description), ("Remedy", finding.remediation)):
        if text:
            lines.append(f"{title}: {plain(text)}")
    if finding.evidence:
        lines += ["Evidence:", fenced(finding.evidence)]
    if finding.reproduction:
        lines += ["To reproduce:", fenced("\n".join(finding.reproduction))]
    if finding.is_shortened:
        lines.append(wording.SHORTENED)
    return "\n\n".join(lines)


def _retest(retest: ReportRetest | None) -> list[str]:
    if retest is None:
        return []
    rows = (
        (plain(one.outcome.replace("_", " ")), one.severity, plain(one.title), plain(wording.place(one)), plain(one.reason))
        for one in retest.results
    )
    return ["## Tested again", _table(("Outcome", "Severity", "Finding", "Where", "Why"), rows)]


def _grading(finding: ReportFinding) -> str:
    vector = plain(finding.cvss_vector or "no vector")
    score = f"CVSS {finding.cvss_score} ({vector})" if finding.cvss_score is not None else "no CVSS score"
    return f"{score}, {wording.weakness(finding)}"


def _comparison(comparison: ReportComparison | None) -> list[str]:
    told = [plain(wording.compared(comparison))]
    if comparison is None:
        return told
    if comparison.caveats:
        told.append(_listed(comparison.caveats))
    if comparison.past:
        rows = ((one.severity, plain(one.title), plain(wording.place(one)), plain(one.fate.replace("_", " "))) for one in comparison.past)
        told.append(_table(("Severity", "Finding of the scan before", "Where", "Now"), rows))
    return told
