"""Writes a report as SARIF 2.1.0 for code-scanning tools: one rule for each weakness, and gaps as notifications of a failed run. Pure."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from urllib.parse import quote, unquote, urlsplit

from pydantic import JsonValue

from apviso.protocol.reports import ReportDocument, ReportFinding
from apviso.protocol.states import RetestOutcome, Severity, UserStatus
from apviso.protocol.wire import format_instant
from apviso.server.reports import wording
from apviso.server.reports.wording import COMPLETE, in_one_line

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
LEVELS = {
    Severity.CRITICAL: "error",
    Severity.HIGH: "error",
    Severity.MEDIUM: "warning",
    Severity.LOW: "note",
    Severity.INFO: "note",
}
_ACCEPTED = {UserStatus.ACCEPTED_RISK: "The risk is accepted.", UserStatus.FALSE_POSITIVE: "It is a false positive."}
# What may stand in a part of a path as it is; a percent sign only where it begins an escape, which quoting it again would change.
_IN_SEGMENTS = ":@!$&'()*+,;=~%"
Json = dict[str, JsonValue]


def message(text: str) -> str:
    """Hostile text as a message in which viewers find neither link nor placeholder (SARIF 2.1.0, sections 3.11.5 and 3.11.6)."""
    escaped = text.replace("\\", "\\\\").replace("[", "\\[").replace("]", "\\]")
    return escaped.replace("{", "{{").replace("}", "}}")


def address(url: str, otherwise: str) -> str:
    """Host and path of the finding, or of the target where its address is none of the web, as if they were a path in a repository.

    Code-scanning tools refuse a whole file in which one location has a scheme; the whole address is among the properties."""
    for one in (url, otherwise):
        try:
            parts = urlsplit(one)
        except ValueError:
            continue
        if parts.scheme in ("http", "https") and parts.hostname:
            host = re.sub(r"[^A-Za-z0-9.-]+", "_", parts.netloc.rpartition("@")[2]).strip("_")
            # Segments that lead upwards, or nowhere, would make it another path.
            segments = [segment for segment in parts.path.split("/") if unquote(segment).strip(".")]
            return "/".join([host or "target", *(quote(_whole_escapes(segment), safe=_IN_SEGMENTS) for segment in segments)])
    return "target"


def _whole_escapes(url: str) -> str:
    pieces = url.split("%")
    digits = "0123456789abcdefABCDEF"
    kept = [piece if len(piece) >= 2 and piece[0] in digits and piece[1] in digits else f"25{piece}" for piece in pieces[1:]]
    return "%".join([pieces[0], *kept])


def rule_id(finding: ReportFinding) -> str:
    if finding.cwe_id:
        return f"CWE-{finding.cwe_id}"
    return f"untyped-{hashlib.sha256(finding.title.casefold().encode()).hexdigest()[:12]}"


def render(document: ReportDocument) -> str:
    by_rule: dict[str, list[ReportFinding]] = {}
    for finding in document.findings:
        by_rule.setdefault(rule_id(finding), []).append(finding)
    places = {name: number for number, name in enumerate(by_rule)}
    name, _, version = document.generator.rpartition(" ")
    driver: Json = {"name": name or version, "version": version, "rules": [_rule(key, found) for key, found in by_rule.items()]}
    taxa: list[JsonValue] = [{"id": str(number)} for number in sorted({one.cwe_id for one in document.findings if one.cwe_id})]
    # Of a category of its own: by a retest, which looked for little, tools must not take all other findings of the target for mended.
    category = f"apviso/{document.target.domain}{'/retest' if document.scan.is_retest else ''}"
    run: Json = {
        "tool": {"driver": driver},
        "automationDetails": {"id": f"{category}/{document.scan.id}"},
        "invocations": [_invocation(document)],
        "results": [_result(document, one, places[rule_id(one)]) for one in document.findings],
        "columnKind": "unicodeCodePoints",
        "properties": _properties(document),
    }
    if taxa:
        run["taxonomies"] = [{"name": "CWE", "organization": "MITRE", "shortDescription": {"text": "Weaknesses"}, "taxa": taxa}]
    return json.dumps({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}, ensure_ascii=False, indent=2) + "\n"


def _properties(document: ReportDocument) -> Json:
    compared, retest = document.comparison, document.retest
    return {
        "verdict": document.verdict,
        "clean": document.clean,
        "asOf": format_instant(document.as_of),
        "findingsLeftOut": document.findings_left_out,
        "comparison": None if compared is None else compared.model_dump(mode="json", by_alias=True),
        **({} if retest is None else {"retest": retest.model_dump(mode="json", by_alias=True)}),
    }


def _rule(name: str, findings: Sequence[ReportFinding]) -> Json:
    first, scores = findings[0], [one.cvss_score for one in findings if one.cvss_score is not None]
    tags: list[JsonValue] = ["security", *([f"external/cwe/cwe-{first.cwe_id:03d}"] if first.cwe_id else [])]
    properties: Json = {"tags": tags, **({"security-severity": str(max(scores))} if scores else {})}
    rule: Json = {
        "id": name,
        "shortDescription": {"text": message(in_one_line(first.title))},
        "fullDescription": {"text": message(first.description or first.title)},
        "help": {"text": message(first.remediation or "Read the evidence and judge it.")},
        "defaultConfiguration": {"level": LEVELS[first.severity]},
        "properties": properties,
    }
    if first.cwe_id:
        rule["helpUri"] = f"https://cwe.mitre.org/data/definitions/{first.cwe_id}.html"
        superset: Json = {"target": {"id": str(first.cwe_id), "toolComponent": {"name": "CWE"}}, "kinds": ["superset"]}
        rule["relationships"] = [superset]
    return rule


def _result(document: ReportDocument, finding: ReportFinding, place: int) -> Json:
    told = f"{finding.title}: {wording.place(finding)}"
    result: Json = {
        "ruleId": rule_id(finding),
        "ruleIndex": place,
        "level": LEVELS[finding.severity],
        "message": {"text": message(in_one_line(told))},
        "locations": [_location(document, finding)],
        "partialFingerprints": {"apvisoFinding/v1": finding.fingerprint},
        "properties": _graded(finding),
    }
    if finding.since_previous is not None:
        result["baselineState"] = "new" if finding.since_previous == "new" else "unchanged"
    if finding.user_status in _ACCEPTED:
        result["suppressions"] = [{"kind": "external", "status": "accepted", "justification": _ACCEPTED[finding.user_status]}]
    return result


def _location(document: ReportDocument, finding: ReportFinding) -> Json:
    # A line is asked for by tools that show source code; an address has but one.
    region: Json = {"startLine": 1, **({"snippet": {"text": finding.evidence}} if finding.evidence else {})}
    named = f"{finding.method} {finding.url}".strip()
    logical: Json = {"name": finding.parameter or named, "fullyQualifiedName": wording.place(finding)}
    logical["kind"] = "parameter" if finding.parameter else "resource"
    artifact: Json = {"uri": address(finding.url, document.target.scan_url)}
    return {"physicalLocation": {"artifactLocation": artifact, "region": region}, "logicalLocations": [logical]}


def _graded(finding: ReportFinding) -> Json:
    kept = ("severity", "cvss_score", "cvss_vector", "description", "reproduction", "remediation", "detectors", "user_status")
    told: Json = finding.model_dump(mode="json", by_alias=True, include={*kept, "method", "url", "parameter", "is_shortened"})
    return told | ({"security-severity": str(finding.cvss_score)} if finding.cvss_score is not None else {})


def _invocation(document: ReportDocument) -> Json:
    """Only a complete scan counts as a successful run: a tool that knows nothing of coverage must not take silence for safety."""
    scan, is_complete = document.scan, document.verdict == COMPLETE
    level = "note" if is_complete else "warning"
    told = [("coverage", level, text) for text in document.coverage.remarks]
    told += [("not-looked-at", "note", text) for text in document.coverage.not_looked_at]
    for one in document.retest.results if document.retest is not None else ():
        if one.outcome is RetestOutcome.COULD_NOT_CHECK:
            told.append(("retest-could-not-check", "warning", f"{one.title} ({wording.place(one)}): {one.reason}"))
    if not is_complete:
        told.insert(0, (document.verdict, "error", document.headline))
    if (left_out := wording.left_out(document)) is not None:
        told.append(("left-out", "warning", left_out))
    notifications: list[JsonValue] = [
        {"descriptor": {"id": id_}, "level": at, "message": {"text": message(text)}} for id_, at, text in told
    ]
    invocation: Json = {"executionSuccessful": is_complete, "toolExecutionNotifications": notifications}
    if scan.end_reason:
        invocation["exitCodeDescription"] = str(scan.end_reason)
    if scan.started_at:
        invocation["startTimeUtc"] = format_instant(scan.started_at)
    if scan.finished_at:
        invocation["endTimeUtc"] = format_instant(scan.finished_at)
    return invocation
