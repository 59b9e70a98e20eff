"""The adapter of sqlmap: SQL injection in the parameters of addresses and of the API's operations.

One process for each address: in one for many, sqlmap leaves out the rest of a host after its first find. It always exits with 0."""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit

from apviso.protocol.findings import ReportedFinding
from apviso.protocol.scan_events import Progress
from apviso.scanning import environment
from apviso.scanning.adapters.tool import INTERRUPT, Assignment, Result, ToolFailed
from apviso.scanning.api_document import Operation
from apviso.scanning.catalogue import FlawClass
from apviso.scanning.evidence import curl_command, excerpt, one_line
from apviso.scanning.links import is_excluded
from apviso.scanning.reporting import reported

MAX_REPORT_BYTES = 8 * 1024 * 1024
# More than this for one address is a target that answers too slowly to be tested.
MOST_SECONDS_FOR_ONE = 240.0
LEAST_SECONDS_FOR_ONE = 10.0
# Marks a value in the address itself; sqlmap then tests these places alone and calls them #1*, #2* and so on.
_MARK = "*"
_TARGET_FILE = "target.ini"
_PRINTED = "".join(map(chr, range(0x21, 0x7F)))
_CRITICAL = re.compile(r"\[CRITICAL\] (.+)")
# What sqlmap says where it looked and found nothing, and where an operation does not answer without credentials.
_NOTHING_FOUND = "do not appear to be injectable"
_REFUSED = "(401)"


@dataclass(frozen=True)
class Place:
    """One address to test. `path` is what findings name; `parameters` are those of the marked places in their order, if there are any."""

    url: str
    path: str
    parameters: tuple[str, ...] = ()


async def scan(assignment: Assignment) -> Result:
    """Test each place in turn, until the time is spent."""
    injections = assignment.plan.injections
    assert injections is not None
    known = list(places(assignment))
    chosen = known[: injections.places]
    findings: list[ReportedFinding] = []
    gaps: list[str] = []
    left = assignment.seconds
    tested = 0
    for number, place in enumerate(chosen):
        if left < LEAST_SECONDS_FOR_ONE:
            break
        found, gap, spent = await _test(assignment, place, number, min(left, MOST_SECONDS_FOR_ONE))
        findings += found
        gaps += gap
        left -= spent
        tested += 1
        assignment.say(Progress(percent=round(100 * tested / len(chosen), 1)))
    if tested < len(chosen):
        gaps.append(f"time_spent: {len(chosen) - tested} of {len(chosen)} addresses were not tested by sqlmap when its time was spent.")
    beyond = len(known) - len(chosen)
    remarks = [f"places_beyond_preset: {beyond} more addresses were left to Wapiti alone; a higher preset tests them with sqlmap."]
    return Result(findings, gaps, remarks if beyond else [])


def places(assignment: Assignment) -> Iterator[Place]:
    """Operations of the API first, then pages; each with parameters, and each path with the same names of parameters once."""
    seen: set[tuple[str, frozenset[str]]] = set()
    for operation in assignment.api.operations if assignment.api else ():
        if operation.method == "GET" and operation.parameters:
            seen.add((operation.path, frozenset(p.name for p in operation.parameters)))
            yield _of_operation(operation, assignment.origin)
    for url in assignment.addresses:
        parts = urlsplit(url)
        key = (parts.path or "/", frozenset(name for name, _ in parse_qsl(parts.query, keep_blank_values=True)))
        if key[1] and key not in seen and not is_excluded(url, assignment.order.limits.exclude_paths):
            seen.add(key)
            yield Place(url, parts.path or "/")


def _of_operation(operation: Operation, origin: str) -> Place:
    if not any(parameter.in_path for parameter in operation.parameters):
        return Place(operation.address(origin), operation.path)
    names = [p.name for p in operation.parameters if p.in_path] + [p.name for p in operation.parameters if not p.in_path]
    return Place(operation.address(origin, _MARK), operation.path, tuple(names))


async def _test(assignment: Assignment, place: Place, number: int, seconds: float) -> tuple[list[ReportedFinding], list[str], float]:
    """Findings and gaps of one place, and the seconds that it took."""
    folder = assignment.work_dir / "sqlmap" / str(number)
    folder.mkdir(parents=True, exist_ok=True)
    complaints: list[str] = []

    def hear(line: str) -> None:
        if (said := _CRITICAL.search(line)) and len(complaints) < 5:
            complaints.append(said[1])

    began = time.monotonic()
    try:
        (folder / _TARGET_FILE).write_text(target_file(place.url), encoding="ascii")
        await assignment.run(command(assignment, folder, seconds), INTERRUPT, hear, seconds + 5)
        found = parse(_read(folder / "report.json"), place, assignment.origin)
    except (ToolFailed, OSError) as failed:
        # What was found at the places before must not be lost with it.
        found, complaints = [], [str(failed)]
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    spent = time.monotonic() - began
    return found, list(gaps_of(place, found, complaints, timed_out=spent >= int(seconds))), spent


def gaps_of(place: Place, found: Sequence[ReportedFinding], complaints: Sequence[str], *, timed_out: bool) -> Iterator[str]:
    """At its time limit sqlmap ends without a word, with a report as of a place where it found nothing."""
    told = f"injections_untested: sqlmap did not test {one_line(place.path, 100)}"
    if timed_out and not any(_NOTHING_FOUND in said for said in complaints):
        yield f"{told} to the end: its time was spent"
    elif not found and not complaints:
        yield f"{told}: it ended without saying what it found"
    for said in complaints:
        # Once something is found, what it says of the rest is about exploiting it.
        if _NOTHING_FOUND in said or _REFUSED in said or found:
            continue
        yield f"{told}: {one_line(said, 200)}"


def target_file(url: str) -> str:
    """The address for sqlmap's settings file: in an argument all of the host could read it, and a target may put a secret into its links.

    One line whatever the target wrote: a second one would be another setting."""
    return f"[Target]\nurl = {quote(url, safe=_PRINTED)}\n"


def command(assignment: Assignment, folder: Path, seconds: float) -> list[str]:
    """Detection only: no option that reads data, files or accounts of the target. `--smart` and a WAF probe are left out on purpose."""
    injections, limits = assignment.plan.injections, assignment.order.limits
    assert injections is not None
    timeout = max(10, 4 / limits.requests_per_second)
    return [
        *environment.program(assignment.scanners_dir, "sqlmap"), "-c", str(folder / _TARGET_FILE),
        "--method", "GET", "--batch", "--flush-session",
        "--disable-coloring", "--skip-waf", "--output-dir", str(folder), "--report-json", str(folder / "report.json"),
        "--technique", injections.techniques, "--level", str(injections.level), "--risk", "1", "--threads", "1",
        "--time-limit", f"{seconds:.0f}", "--timeout", f"{timeout:.0f}", "--retries", "1",
        "--proxy", assignment.order.proxy_url.rstrip("/"), "--answers", "redirect=N,follow=N",
    ]  # fmt: skip


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > MAX_REPORT_BYTES:
            raise ToolFailed("its report is larger than a scan may keep")
        return path.read_bytes()
    except OSError as error:
        raise ToolFailed("it left no report") from error


def parse(text: bytes, place: Place, origin: str) -> list[ReportedFinding]:
    """One finding for each parameter that was found injectable. Raises ToolFailed."""
    try:
        entries = json.loads(text)["data"]
        techniques = [one for entry in entries if entry["type_name"] == "TECHNIQUES" for one in entry["value"]]
        return [_finding(technique, place, origin) for technique in techniques]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ToolFailed("its report is not in a known form") from error


def _finding(technique: dict[str, Any], place: Place, origin: str) -> ReportedFinding:
    proofs = technique["data"]
    lines = [f"{proof['technique']}: {proof['title']}\nPayload: {proof['payload']}" for proof in proofs]
    known = [f"Database: {technique['dbms']}"] if isinstance(technique.get("dbms"), str) else []
    return reported(
        FlawClass.SQL_INJECTION,
        detector="sqlmap",
        origin=origin,
        path=place.path,
        evidence=excerpt("\n\n".join([*lines, *known])),
        reproduction=[curl_command("GET", _repeated(str(technique["place"]), str(proofs[0]["payload"]), place))] if proofs else [],
        parameter=_parameter(str(technique["parameter"]), place),
    )


def _parameter(told: str, place: Place) -> str:
    """The name behind `#2*`; other names are the parameters' own."""
    marked = re.fullmatch(r"#(\d+)\*", told)
    if marked and 0 < int(marked[1]) <= len(place.parameters):
        return one_line(place.parameters[int(marked[1]) - 1], 500)
    return one_line(told, 500)


def _repeated(kind: str, payload: str, place: Place) -> str:
    """The address of a request with the payload: the whole address for a marked place, else the query."""
    whole = payload if kind == "URI" else f"{place.url.partition('?')[0]}?{payload}"
    return quote(whole, safe="/:?&=%'(),;*@!$~[]")
