"""The adapter of Schemathesis: the operations of an API asked in permitted and odd ways. Its exit code is 0 even where the guard refused.

Its budget is one to spend, so it is bounded by the number of requests for each operation, and never by time alone."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from apviso.protocol.findings import ReportedFinding
from apviso.protocol.scan_events import Progress
from apviso.scanning import environment
from apviso.scanning.adapters.tool import INTERRUPT, Assignment, Result, ToolFailed
from apviso.scanning.api_document import ApiDocument, Operation
from apviso.scanning.catalogue import FlawClass
from apviso.scanning.evidence import curl_command, excerpt, one_line
from apviso.scanning.reporting import reported

MAX_REPORT_BYTES = 512 * 1024 * 1024
MAX_EVENT_BYTES = 64 * 1024 * 1024
MAX_FINDINGS = 500
# The part of the scan's requests that an API may take, and what the fixed cases of one operation come to.
API_SHARE = 0.4
COVERAGE_REQUESTS = 70
THINNED = "api_thinned: The API has so many operations that each was asked less often than the preset says."
_CHECKS: Mapping[str, FlawClass] = {
    "not_a_server_error": FlawClass.SERVER_ERROR,
    "ignored_auth": FlawClass.AUTH_IGNORED,
    "response_schema_conformance": FlawClass.API_CONFORMANCE,
    "status_code_conformance": FlawClass.API_CONFORMANCE,
}
# Starts of well-known attacks: enough for an operation to answer with an error where it lets them through.
_ATTACKS = ("'", '"', "1' OR '1'='1", "1;--", "../../../../etc/passwd", "$(id)", "{{7*7}}", "<script>alert(1)</script>", "%00", "${7*7}")


async def scan(assignment: Assignment) -> Result:
    """Ask every permitted operation of the document. Raises ToolFailed."""
    api, plan = assignment.api, assignment.plan.api
    assert api is not None
    assert plan is not None
    work = assignment.work_dir
    (work / "api.json").write_text(json.dumps(api.document))
    (work / "schemathesis.toml").write_text(settings(plan.attack_share))
    done = 0

    def hear(line: str) -> None:
        nonlocal done
        if any(operation.label in line for operation in api.operations):
            done += 1
            assignment.say(Progress(percent=min(99.0, round(100 * done / (3 * len(api.operations)), 1))))

    asked = asking(plan.examples, len(api.operations), assignment.order.limits.max_requests)
    ended = await assignment.run(command(assignment, api, asked), INTERRUPT, hear)
    report = work / "schemathesis.ndjson"
    try:
        if report.stat().st_size > MAX_REPORT_BYTES:
            raise ToolFailed("its report is larger than a scan may keep")
        heard = read(report, {operation.label: operation for operation in api.operations})
    except OSError as error:
        raise ToolFailed(f"it left no report (exit code {ended.exit_code})", stopped=ended.stopped) from error
    if not heard.answered:
        raise ToolFailed(f"it got no answer from the API (exit code {ended.exit_code})", stopped=ended.stopped)
    remarks = [*_remarks(heard, api), *([THINNED] if asked.examples < plan.examples else [])]
    found, gaps = findings(heard, assignment.origin), _gaps(heard, api, stopped=ended.stopped)
    if len(found) > MAX_FINDINGS:
        gaps.append(f"findings_dropped: {len(found) - MAX_FINDINGS} findings beyond the first {MAX_FINDINGS} were left out.")
    return Result(found[:MAX_FINDINGS], gaps, remarks, len(heard.answered))


@dataclass(frozen=True)
class Asking:
    """How much of each operation: generated requests, and in which of Schemathesis' phases."""

    examples: int
    phases: str


def asking(examples: int, operations: int, max_requests: int) -> Asking:
    """As much as the plan says, as long as all operations together leave the other scanners most of the budget."""
    each = API_SHARE * max_requests / max(1, operations)
    phases = "examples,coverage,fuzzing" if each >= COVERAGE_REQUESTS + examples else "examples,fuzzing"
    return Asking(max(1, min(examples, int(each / 2))), phases)


def settings(attack_share: float) -> str:
    """Without the methods that an operation does not have: they are sent to see them refused, and some applications act on them."""
    lines = ["[phases.coverage]", "unexpected-methods = []", "[phases.stateful]", "enabled = false"]
    if attack_share:
        lines += ["[dictionaries.attacks]", f"values = {json.dumps(_ATTACKS)}"]
        lines += ["[generation.dictionaries]", f'string = {{ dictionary = "attacks", probability = {attack_share} }}']
    return "\n".join(lines) + "\n"


def command(assignment: Assignment, api: ApiDocument, asked: Asking) -> list[str]:
    """The document is the cut-down one, and its address the target's own, whatever it said."""
    work = assignment.work_dir
    checks = [name for name in _CHECKS if name != "ignored_auth" or asks_without_credentials(assignment)]
    return [
        *environment.program(assignment.scanners_dir, "schemathesis"), "--config-file", str(work / "schemathesis.toml"),
        "run", str(work / "api.json"), "--url", assignment.origin + api.base_path, "--proxy", assignment.order.proxy_url.rstrip("/"),
        "--tls-verify", "false", "--checks", ",".join(checks), "--phases", asked.phases, "--max-examples", str(asked.examples),
        "--workers", "1", "--continue-on-failure", "--seed", "1", "--no-shrink", "--generation-database", "none", "--no-color",
        "--request-timeout", "30", "--suppress-health-check", "all", "--warnings", "off", "--output-sanitize", "true",
        "--report", "ndjson", "--report-ndjson-path", str(work / "schemathesis.ndjson"), "--report-dir", str(work),
    ]  # fmt: skip


def asks_without_credentials(assignment: Assignment) -> bool:
    """Whether a request without credentials reaches the target as such: the guard adds those that are configured to every request."""
    return not assignment.order.identities


@dataclass(frozen=True)
class Failure:
    """The first time that a check failed for an operation. `parameter` is named where one was varied alone."""

    check: str
    operation: Operation
    message: str
    method: str
    url: str
    status: int
    body: str
    parameter: str | None


@dataclass
class Heard:
    """What the report says: failures and how often each was seen, operations that answered and that answered well, how it ended."""

    failures: dict[tuple[str, str], Failure] = field(default_factory=dict)
    seen: dict[tuple[str, str], int] = field(default_factory=dict)
    answered: set[str] = field(default_factory=set)
    succeeded: set[str] = field(default_factory=set)
    errors: list[str] = field(default_factory=list)
    stop_reason: str | None = None


def read(path: Path, operations: Mapping[str, Operation]) -> Heard:
    """Follow the report line by line. Raises OSError; a line that cannot be read is left out, and the end is then missing."""
    heard = Heard()
    with path.open("rb") as lines:
        while line := lines.readline(MAX_EVENT_BYTES):
            try:
                ((kind, told),) = json.loads(line).items()
                _hear(heard, kind, told, operations)
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
                heard.errors.append("a line of its report could not be read")
    return heard


def _hear(heard: Heard, kind: str, told: Any, operations: Mapping[str, Operation]) -> None:
    match kind:
        case "ScenarioFinished":
            _hear_scenario(heard, told.get("recorder") or {}, operations)
        case "NonFatalError" | "FatalError":
            heard.errors.append(one_line(str((told.get("info") or told.get("value") or {}).get("title") or kind), 200))
        case "EngineFinished":
            heard.stop_reason = str(told.get("stop_reason"))


def _hear_scenario(heard: Heard, recorder: Mapping[str, Any], operations: Mapping[str, Operation]) -> None:
    interactions, cases = recorder.get("interactions") or {}, recorder.get("cases") or {}
    for interaction in interactions.values():
        response = interaction.get("response") or {}
        label = str(recorder.get("label"))
        if response and not _was_refused(response):
            heard.answered.add(label)
            if 200 <= int(response["status_code"]) < 400:
                heard.succeeded.add(label)
    for case_id, checks in (recorder.get("checks") or {}).items():
        for check in checks:
            told = (check.get("failure_info") or {}).get("failure")
            interaction = interactions.get(case_id) or {}
            if told and interaction.get("response") and not _was_refused(interaction["response"]):
                _note_failure(heard, check["name"], told, interaction, cases.get(case_id) or {}, operations)


def _was_refused(response: Mapping[str, Any]) -> bool:
    """Whether the guard answered in place of the target."""
    return any(name.lower() == "x-guard-refusal" for name in response.get("headers") or {})


def _note_failure(
    heard: Heard,
    check: str,
    told: Mapping[str, Any],
    interaction: Mapping[str, Any],
    case: Mapping[str, Any],
    operations: Mapping[str, Operation],
) -> None:
    operation, request, response = operations.get(str(told.get("operation"))), interaction["request"], interaction["response"]
    status = int(response["status_code"])
    # A server error is a finding of its own; that it is not in the document either adds nothing.
    if operation is None or check not in _CHECKS or (_CHECKS[check] is FlawClass.API_CONFORMANCE and status >= 500):
        return
    key = (check, operation.label)
    heard.seen[key] = heard.seen.get(key, 0) + 1
    message = str(told.get("message") or told.get("title") or "")
    heard.failures.setdefault(
        key,
        Failure(check, operation, message, request["method"], request["uri"], status, _body(response), _varied(case, operation)),
    )


def _body(response: Mapping[str, Any]) -> str:
    try:
        return base64.b64decode((response.get("content") or {}).get("$base64") or "").decode(errors="replace")
    except (binascii.Error, ValueError):
        return ""


def _varied(case: Mapping[str, Any], operation: Operation) -> str | None:
    """The parameter that made the difference: the one that was varied, or the only one there is."""
    phase = ((case.get("value") or {}).get("meta") or {}).get("phase") or {}
    named = (phase.get("data") or {}).get("parameter")
    names = [parameter.name for parameter in operation.parameters]
    if named in names:
        return str(named)
    return names[0] if len(names) == 1 else None


def findings(heard: Heard, origin: str) -> list[ReportedFinding]:
    """One for each kind of flaw and operation; checks that mean the same kind share one."""
    groups: dict[tuple[FlawClass, str], list[Failure]] = {}
    for failure in heard.failures.values():
        groups.setdefault((_CHECKS[failure.check], failure.operation.label), []).append(failure)
    return [_finding(flaw, group, sum(heard.seen[f.check, label] for f in group), origin) for (flaw, label), group in groups.items()]


def _finding(flaw: FlawClass, group: list[Failure], times: int, origin: str) -> ReportedFinding:
    failure = group[0]
    parts = urlsplit(failure.url)
    lines = [f"{failure.method} {parts.path}{'?' + parts.query if parts.query else ''}", f"Status {failure.status}"]
    lines += [excerpt(failure.message, 700), "", excerpt(failure.body, 500)] + ([f"Seen {times} times."] if times > 1 else [])
    lines += [f"Also, with status {other.status}: {excerpt(other.message, 300)}" for other in group[1:]]
    return reported(
        flaw,
        detector="schemathesis",
        origin=origin,
        path=failure.operation.path,
        evidence=excerpt("\n".join(lines)),
        reproduction=[curl_command(one.method, one.url) for one in group],
        method=failure.method,
        parameter=failure.parameter if flaw is FlawClass.SERVER_ERROR else None,
    )


def _gaps(heard: Heard, api: ApiDocument, *, stopped: bool) -> list[str]:
    gaps = []
    if stopped or heard.stop_reason != "completed":
        gaps.append(f"api_stopped: Schemathesis did not come to its end ({one_line(str(heard.stop_reason), 50)}).")
    if missing := [operation.label for operation in api.operations if operation.label not in heard.answered]:
        gaps.append(
            f"api_unanswered: {len(missing)} of {len(api.operations)} operations gave no answer, such as {one_line(missing[0], 100)}."
        )
    if heard.errors:
        gaps.append(f"api_errors: Schemathesis met {len(heard.errors)} errors, first: {one_line(heard.errors[0], 200)}")
    return gaps


def _remarks(heard: Heard, api: ApiDocument) -> list[str]:
    unwilling = sorted(heard.answered - heard.succeeded)
    if not unwilling:
        return []
    text = f"api_only_refusals: {len(unwilling)} of {len(api.operations)} operations answered with errors only"
    return [f"{text}, such as {one_line(unwilling[0], 100)}; credentials, or examples in the document, may be missing."]
