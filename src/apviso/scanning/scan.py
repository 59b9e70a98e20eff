"""One scan from order to coverage line: first look, scanners, findings, last look. Says everything it does; decides no verdict."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, assert_never
from urllib.parse import urlsplit

from apviso.protocol.findings import ReportedFinding
from apviso.protocol.scan_events import CoverageLine, Found, Log, OutputLine, Phase, Progress
from apviso.scanning import api_document, environment, first_look, last_look, retesting
from apviso.scanning.adapters import schemathesis, sqlmap, sslyze, wapiti
from apviso.scanning.adapters.tool import Assignment, Result, Say, ToolFailed
from apviso.scanning.api_document import ApiDocument, BadDocument
from apviso.scanning.collected import Collected
from apviso.scanning.first_look import Look, Sight
from apviso.scanning.links import is_excluded
from apviso.scanning.order import ScanOrder
from apviso.scanning.plans import PLANS, Plan
from apviso.scanning.verdict import FEW_PAGES, ScanExit

# The end of a scan takes a tenth of its time, at most so many seconds: reports to read, pages to see again.
CLOSING_SECONDS = 45.0
LEAST_SECONDS = 10.0


class CannotLook(Exception):
    """The scan ends here. The message goes to the scan's log."""

    def __init__(self, exit_code: ScanExit, message: str) -> None:
        super().__init__(message)
        self.exit_code = exit_code


@dataclass(frozen=True)
class Tool:
    """`weight` is its share of the time and of the progress."""

    name: str
    phase: str
    weight: float
    scan: Callable[[Assignment], Awaitable[Result]]


@dataclass(frozen=True)
class Failure:
    """A scanner that did not look; `stopped` because its time was spent."""

    sentence: str
    stopped: bool


@dataclass
class _Scan:
    """What one scan knows so far."""

    order: ScanOrder
    say: Say
    plan: Plan
    began: float = field(default_factory=time.monotonic)
    collected: Collected = field(default_factory=Collected)
    gaps: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    addresses: tuple[str, ...] = ()
    looked_at: dict[str, int] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)

    @property
    def seconds_left(self) -> float:
        """For the scanners, until the end of the scan begins."""
        total = self.order.limits.max_run_seconds
        return max(LEAST_SECONDS, total - min(CLOSING_SECONDS, total / 10) - (time.monotonic() - self.began))

    def tell(self, found: ReportedFinding | None) -> None:
        if found is not None:
            self.say(Found(finding=found))


async def run_scan(order: ScanOrder, say: Say) -> ScanExit:
    """Everything inside one scan. The last line said is always the coverage."""
    try:
        coverage = await _look_and_scan(_Scan(order, say, PLANS[order.model_preset]))
    except CannotLook as end:
        say(_log("error", str(end)))
        say(CoverageLine(complete=False, reasons=[f"{end.exit_code.name.lower()}: {end}"[:500]]))
        return end.exit_code
    say(Progress(percent=100))
    say(coverage)
    return ScanExit.LOOKED


async def _look_and_scan(scan: _Scan) -> CoverageLine:
    order = scan.order
    problem = environment.status(Path(order.scanners_dir)).problem
    if problem is not None:
        raise CannotLook(ScanExit.SCANNER_MISSING, problem)
    scan.say(Phase(name="first look"))
    start = await _first_look(scan)
    seen_before = await _look_at(order, last_look.witnesses(start, order.limits.exclude_paths))
    if order.is_retest and order.retest_findings:
        return await _retest(scan, start, seen_before)
    scan.tell(first_look.plain_http(start))
    api = await _find_api(scan, start)
    await _run_tools(scan, start, api)
    pages = sum(scan.looked_at.values())
    if pages == 0 and scan.failures:
        worst = next((failure for failure in scan.failures if failure.stopped), scan.failures[0])
        raise CannotLook(ScanExit.RUN_TIMEOUT if worst.stopped else ScanExit.SCANNER_FAILED, worst.sentence)
    scan.gaps += _needs_browser(scan, start)
    scan.gaps += last_look.login_gap(order.target.scan_url, start)
    scan.gaps += await _last_look(order, start, seen_before)
    excluded = _excluded(order, start)
    if pages <= FEW_PAGES:
        scan.gaps += excluded
    reasons = list(dict.fromkeys([*scan.gaps, *excluded, *scan.remarks]))[:50]
    return CoverageLine(complete=not scan.gaps, reasons=reasons, pages=pages)


async def _retest(scan: _Scan, start: Look, seen_before: dict[str, Look]) -> CoverageLine:
    """Its gaps are those of the whole target; what was missed of single findings is said of each of them."""
    order = scan.order
    whole = await retesting.run(order, scan.say, start, _start_url(order, start), lambda: scan.seconds_left)
    scan.gaps += last_look.login_gap(order.target.scan_url, start)
    scan.gaps += await _last_look(order, start, seen_before)
    return CoverageLine(complete=not scan.gaps, reasons=scan.gaps[:50], pages=1 + whole)


async def _first_look(scan: _Scan) -> Look:
    seen = await asyncio.to_thread(first_look.look, scan.order.target.scan_url, scan.order.proxy_url)
    match seen.sight:
        case Sight.USABLE:
            scan.say(_log("info", seen.message))
            return seen
        case Sight.UNREACHABLE | Sight.LEADS_AWAY:
            raise CannotLook(ScanExit.TARGET_UNREACHABLE, seen.message)
        case Sight.ACCESS_REFUSED:
            raise CannotLook(ScanExit.AUTH_FAILED, seen.message)
        case Sight.REFUSED_BY_GUARD:
            raise CannotLook(ScanExit.INVALID_ORDER, seen.message)
        case _:
            assert_never(seen.sight)


async def _find_api(scan: _Scan, start: Look) -> ApiDocument | None:
    """The target's own document. One that was named and cannot be used is a gap; one that the preset does not use is told."""
    order = scan.order
    if scan.plan.api is None and order.api_document is None:
        return None
    asked = (start.url, order.proxy_url, order.limits, order.api_document)
    try:
        found = await asyncio.to_thread(api_document.find, *asked)
    except BadDocument as error:
        scan.gaps.append(f"api_document_unusable: {error}."[:500])
        return None
    if found is None:
        return None
    scan.say(_log("info", f"The API's document at {found.url} describes {len(found.operations)} operations that this scan may ask."))
    if found.left_out:
        scan.remarks.append(f"api_left_out: {found.left_out} operations of the API need methods or paths that the scan may not use.")
    if scan.plan.api is None:
        scan.gaps.append("api_untested: The preset does not test the API that was named; use a higher one.")
    return found


def _tools(scan: _Scan, start: Look, api: ApiDocument | None) -> list[Tool]:
    """Those that the preset has and that find something to look at, in their order: what is bounded comes before what takes all it gets."""
    plan = scan.plan
    tools = []
    if urlsplit(start.url).scheme == "https":
        tools.append(Tool("SSLyze", "tls", 2, sslyze.scan))
    if plan.api is not None and api is not None and api.operations:
        tools.append(Tool("Schemathesis", "api", 3, schemathesis.scan))
    tools.append(Tool("Wapiti", "crawl", 10, wapiti.scan))
    if plan.injections is not None:
        tools.append(Tool("sqlmap", "sql injection", 5, sqlmap.scan))
    return tools


async def _run_tools(scan: _Scan, start: Look, api: ApiDocument | None) -> None:
    tools = _tools(scan, start, api)
    total, done = sum(tool.weight for tool in tools), 0.0
    for number, tool in enumerate(tools):
        left = sum(later.weight for later in tools[number:])
        seconds = scan.seconds_left * tool.weight / left
        scan.say(Phase(name=tool.phase))
        say = _scaled(scan.say, 100 * done / total, 100 * (done + tool.weight) / total)
        assignment = Assignment(scan.order, scan.plan, _start_url(scan.order, start), api, scan.addresses, seconds, say)
        await _run_tool(scan, tool, assignment)
        done += tool.weight
        scan.say(Progress(percent=round(98 * done / total, 1)))
    for found in scan.collected.rest():
        scan.tell(found)


def _scaled(say: Say, least: float, most: float) -> Say:
    """A scanner's own percent as a part of the whole scan's."""

    def scaled(line: OutputLine) -> None:
        if isinstance(line, Progress):
            line = Progress(percent=round(0.98 * (least + line.percent * (most - least) / 100), 1))
        say(line)

    return scaled


async def _run_tool(scan: _Scan, tool: Tool, assignment: Assignment) -> None:
    """One scanner that fails leaves a gap and the others their turn."""
    try:
        result = await tool.scan(assignment)
    except ToolFailed as failed:
        _note_failure(scan, tool, failed)
        return
    except Exception as surprise:  # noqa: BLE001 - whatever a report holds, what the others find is not lost by it
        _note_failure(scan, tool, ToolFailed(f"its adapter met {type(surprise).__name__}"))
        return
    for found in result.findings:
        scan.tell(scan.collected.add(found))
    scan.gaps += result.gaps
    scan.remarks += result.remarks
    scan.looked_at[tool.name] = result.looked_at
    scan.addresses = tuple(dict.fromkeys([*scan.addresses, *result.addresses]))


def _note_failure(scan: _Scan, tool: Tool, failed: ToolFailed) -> None:
    failure = Failure(f"{tool.name} did not look: {failed}.", failed.stopped)
    scan.failures.append(failure)
    scan.gaps.append(f"{'run_stopped' if failure.stopped else 'scanner_failed'}: {failure.sentence}"[:500])
    scan.say(_log("error", failure.sentence))


def _start_url(order: ScanOrder, seen: Look) -> str:
    """The scan URL; with the final slash where the target insists on it, else the scan would take the folder above for its scope."""
    asked = order.target.scan_url.partition("#")[0]
    return seen.url if seen.url == f"{asked}/" else asked


def _needs_browser(scan: _Scan, seen: Look) -> list[str]:
    if sum(scan.looked_at.values()) > FEW_PAGES or not seen.has_script:
        return []
    return ["needs_browser: Only the start page was found and it is drawn by script, which this scanner does not run."]


async def _look_at(order: ScanOrder, urls: list[str]) -> dict[str, Look]:
    """All at once: pages that hang must not take their time-outs one after the other from the scan."""
    looks = await asyncio.gather(*(asyncio.to_thread(first_look.look, url, order.proxy_url) for url in urls))
    return dict(zip(urls, looks, strict=True))


async def _last_look(order: ScanOrder, start: Look, seen_before: dict[str, Look]) -> list[str]:
    asked = order.target.scan_url
    seen = await _look_at(order, [*dict.fromkeys([asked, *seen_before])])
    pages = {url: seen[url] for url in seen_before}
    return [*last_look.changes(asked, start, seen[asked]), *last_look.lost_pages(seen_before, pages)]


def _excluded(order: ScanOrder, seen: Look) -> list[str]:
    """The crawl does not ask for what it knows to be excluded, so the guard's counters alone would not tell."""
    left_out = [link for link in seen.links if is_excluded(link, order.limits.exclude_paths)]
    if not left_out:
        return []
    example = first_look.bare(left_out[0])
    return [f"excluded_paths: The start page links to {len(left_out)} excluded addresses that were not looked at, such as {example}."]


def _log(level: Literal["info", "error"], message: str) -> Log:
    return Log(level=level, message=message)
