"""One scan from order to coverage line: first look, scanner, findings, last look. Says everything it does; decides no verdict."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal, assert_never

from apviso.protocol.scan_events import CoverageLine, Found, Log, OutputLine, Phase, Progress
from apviso.scanning import environment, first_look, last_look, scanner_process, wapiti
from apviso.scanning.first_look import Look, Sight
from apviso.scanning.links import is_excluded
from apviso.scanning.order import ScanOrder
from apviso.scanning.verdict import FEW_PAGES, ScanExit
from apviso.scanning.wapiti_console import Console

Say = Callable[[OutputLine], None]
# Interrupted, Wapiti asks what to do: (r)eport what was found so far.
_STOPPING = scanner_process.Stopping(answer=b"r\n", grace_seconds=20.0)


class CannotLook(Exception):
    """The scan ends here. The message goes to the scan's log."""

    def __init__(self, exit_code: ScanExit, message: str) -> None:
        super().__init__(message)
        self.exit_code = exit_code


async def run_scan(order: ScanOrder, say: Say) -> ScanExit:
    """Everything inside one scan. The last line said is always the coverage."""
    began = time.monotonic()
    try:
        coverage = await _look_and_scan(order, say, began)
    except CannotLook as end:
        say(_log("error", str(end)))
        say(CoverageLine(complete=False, reasons=[f"{end.exit_code.name.lower()}: {end}"[:500]]))
        return end.exit_code
    say(Progress(percent=100))
    say(coverage)
    return ScanExit.LOOKED


async def _look_and_scan(order: ScanOrder, say: Say, began: float) -> CoverageLine:
    version = _installed_version(order)
    say(Phase(name="first look"))
    start = await _first_look(order, say)
    unencrypted = first_look.plain_http(start)
    if unencrypted is not None:
        say(Found(finding=unencrypted))
    seen_before = await _look_at(order, last_look.witnesses(start, order.limits.exclude_paths))
    say(Phase(name="crawl"))
    console = Console(attacks=len(wapiti.PLANS[order.model_preset].attacks))
    command = wapiti.command(order, _start_url(order, start), version, time.monotonic() - began)
    stop_after = wapiti.times(order.limits, 1, time.monotonic() - began).stop
    ended = await _run(order, command, stop_after, console, say)
    parsed = _read_report(order, ended)
    for finding in parsed.findings:
        say(Found(finding=finding))
    gaps = [*console.gaps, *_gaps(ended, parsed, start), *last_look.login_gap(order.target.scan_url, start)]
    gaps += await _last_look(order, start, seen_before)
    excluded = _excluded(order, start)
    if parsed.pages <= FEW_PAGES:
        gaps += excluded
    return CoverageLine(complete=not gaps, reasons=list(dict.fromkeys([*gaps, *excluded]))[:50], pages=parsed.pages)


def _installed_version(order: ScanOrder) -> wapiti.Version:
    found = environment.status(Path(order.scanners_dir))
    if found.problem is not None:
        raise CannotLook(ScanExit.SCANNER_MISSING, found.problem)
    major, minor = found.versions["wapiti"].split(".")[:2]
    return int(major), int(minor)


async def _first_look(order: ScanOrder, say: Say) -> Look:
    seen = await asyncio.to_thread(first_look.look, order.target.scan_url, order.proxy_url)
    match seen.sight:
        case Sight.USABLE:
            say(_log("info", seen.message))
            return seen
        case Sight.UNREACHABLE | Sight.LEADS_AWAY:
            raise CannotLook(ScanExit.TARGET_UNREACHABLE, seen.message)
        case Sight.ACCESS_REFUSED:
            raise CannotLook(ScanExit.AUTH_FAILED, seen.message)
        case Sight.REFUSED_BY_GUARD:
            raise CannotLook(ScanExit.INVALID_ORDER, seen.message)
        case _:
            assert_never(seen.sight)


def _start_url(order: ScanOrder, seen: Look) -> str:
    """The scan URL; with the final slash where the target insists on it, else the scan would take the folder above for its scope."""
    asked = order.target.scan_url.partition("#")[0]
    return seen.url if seen.url == f"{asked}/" else asked


async def _run(order: ScanOrder, command: list[str], stop_after: float, console: Console, say: Say) -> scanner_process.Ended:
    def hear(line: str) -> None:
        for heard in console.hear(line):
            say(heard)

    try:
        return await scanner_process.run(command, Path(order.work_dir), stop_after, _STOPPING, hear)
    except OSError as error:
        raise CannotLook(ScanExit.SCANNER_MISSING, f"The scanner cannot be started: {error.strerror or error}") from error


def _read_report(order: ScanOrder, ended: scanner_process.Ended) -> wapiti.Parsed:
    """Wapiti's exit code says nothing; only a readable report does."""
    path = wapiti.report_path(order)
    try:
        if path.stat().st_size > wapiti.MAX_REPORT_BYTES:
            raise CannotLook(ScanExit.SCANNER_FAILED, "The scanner's report is larger than a scan may keep.")
        return wapiti.parse(path.read_bytes(), order)
    except (OSError, wapiti.ReportUnreadable) as error:
        code = ScanExit.RUN_TIMEOUT if ended.stopped else ScanExit.SCANNER_FAILED
        raise CannotLook(code, f"The scanner left no usable report (exit code {ended.exit_code}).") from error


def _gaps(ended: scanner_process.Ended, parsed: wapiti.Parsed, seen: Look) -> list[str]:
    found = []
    if ended.stopped:
        found.append("run_stopped: The scanner was stopped when the time of the scan was spent.")
    if parsed.dropped:
        found.append(f"findings_dropped: {parsed.dropped} findings beyond the first {wapiti.MAX_FINDINGS} were left out.")
    if parsed.unread:
        found.append(f"entries_unreadable: {parsed.unread} entries of the scanner's report could not be read and were left out.")
    if parsed.pages <= FEW_PAGES and seen.has_script:
        found.append("needs_browser: Only the start page was found and it is drawn by script, which this scanner does not run.")
    return found


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
