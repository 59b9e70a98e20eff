"""Whole scans as the runner starts them: a real scan process, the real scanner, the real guard, a real target."""

from __future__ import annotations

import asyncio
import json
import sys
import urllib.request
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from apviso.demo.truth import compare
from apviso.protocol.findings import Finding, ReportedFinding
from apviso.protocol.limits import Limits
from apviso.protocol.scan_events import CoverageLine, Found, Log, OutputLine, Phase, Progress, output_line
from apviso.protocol.states import EndReason, ModelPreset
from apviso.scanning.guard import Guard, GuardCounters, rules_for, start_guard
from apviso.scanning.order import ScanOrder
from apviso.scanning.scan import run_scan
from apviso.scanning.verdict import ScanExit, Verdict, judge
from tests.scanning.conftest import StartGuard, Target, rules_of, until
from tests.scanning.orders import limits_of, order_for, target_at

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Scanned:
    exit_code: int
    lines: list[OutputLine]
    counters: GuardCounters
    verdict: Verdict

    @property
    def findings(self) -> list[ReportedFinding]:
        return [line.finding for line in self.lines if isinstance(line, Found)]

    @property
    def codes(self) -> list[str]:
        return [reason.partition(":")[0] for reason in self.verdict.coverage.reasons]


@asynccontextmanager
async def shop(*flags: str) -> AsyncIterator[str]:
    """The demo shop as a process; gives its address."""
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "apviso.demo", *flags, stdout=PIPE)
    try:
        assert process.stdout is not None
        port = json.loads(await asyncio.wait_for(process.stdout.readline(), 30))["listening"]
        yield f"http://127.0.0.1:{port}/"
    finally:
        process.kill()
        await process.wait()


@asynccontextmanager
async def started(order: ScanOrder) -> AsyncIterator[Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "apviso.scanning", stdin=PIPE, stdout=PIPE, start_new_session=True, limit=2**20
    )
    assert process.stdin is not None
    process.stdin.write(order.model_dump_json(by_alias=True).encode() + b"\n")
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def scan(url: str, scanners_dir: Path, work_dir: Path, limits: Limits | None = None, retest: list[Finding] | None = None) -> Scanned:
    bounds = limits or limits_of(requests_per_second=200)
    guard = await start_guard(rules_for("scan-1", target_at(url), bounds, {}, None), scanners_dir, work_dir, 300)
    order = order_for(url, limits=bounds, retest=retest, proxy_url=guard.proxy_url, work_dir=work_dir, scanners_dir=scanners_dir)
    try:
        async with started(order) as process, asyncio.timeout(200):
            assert process.stdout is not None
            lines = [output_line.validate_json(line) async for line in process.stdout]
            exit_code = await process.wait()
    finally:
        counters = await guard.close()
    said = lines[-1] if isinstance(lines[-1], CoverageLine) else None
    return Scanned(exit_code, lines, counters, judge(exit_code, said, counters, bounds, is_retest=order.is_retest))


def visits(url: str) -> dict[str, int]:
    with urllib.request.urlopen(f"{url}visits", timeout=10) as answer:
        counted: dict[str, int] = json.loads(answer.read())
    return counted


async def test_scan_of_the_careless_shop_finds_all_its_flaws_and_no_other(scanners_dir: Path, tmp_path: Path) -> None:
    async with shop() as url:
        scanned = await scan(url, scanners_dir, tmp_path)
        counted = await asyncio.to_thread(visits, url)

    comparison = compare(scanned.findings)
    assert comparison.missed == ()
    assert comparison.false_alarms == ()
    assert (scanned.exit_code, scanned.verdict.end_reason) == (ScanExit.LOOKED, EndReason.COMPLETED)
    assert scanned.verdict.coverage.complete
    assert "excluded_paths" in scanned.codes
    assert (counted.get("/logout", 0), counted.get("/reset", 0)) == (0, 0)
    assert isinstance(scanned.lines[-1], CoverageLine)
    assert {"first look", "crawl", "attack sql", "report"} <= {line.name for line in scanned.lines if isinstance(line, Phase)}
    percents = [line.percent for line in scanned.lines if isinstance(line, Progress)]
    assert percents == sorted(percents)
    assert percents[-1] == 100


async def test_scan_of_the_hardened_shop_gives_no_injection_finding(scanners_dir: Path, tmp_path: Path) -> None:
    async with shop("--hardened") as url:
        scanned = await scan(url, scanners_dir, tmp_path)

    assert compare(scanned.findings, ()).false_alarms == ()
    assert (scanned.verdict.status, scanned.verdict.coverage.complete) == ("completed", True)


async def test_scan_with_a_tiny_budget_is_partial_and_raises_no_false_alarm(scanners_dir: Path, tmp_path: Path) -> None:
    async with shop("--hardened") as url:
        scanned = await scan(url, scanners_dir, tmp_path, limits_of(max_requests=150, requests_per_second=200))

    assert (scanned.verdict.status, scanned.verdict.coverage.complete) == ("completed", False)
    assert "budget_spent" in scanned.codes
    assert scanned.counters.requests == 150
    assert compare(scanned.findings, ()).false_alarms == ()


async def test_scan_that_runs_out_of_time_is_partial_and_keeps_what_it_found(scanners_dir: Path, tmp_path: Path) -> None:
    async with shop() as url:
        scanned = await scan(url, scanners_dir, tmp_path, limits_of(max_run_seconds=30, requests_per_second=15))

    assert (scanned.verdict.status, scanned.verdict.coverage.complete) == ("completed", False)
    assert {"run_stopped", "time_spent"} & set(scanned.codes)
    assert compare(scanned.findings).found != ()


async def test_scan_of_a_dead_port_is_failed(scanners_dir: Path, tmp_path: Path, unused_tcp_port: int) -> None:
    scanned = await scan(f"http://127.0.0.1:{unused_tcp_port}/", scanners_dir, tmp_path)

    assert scanned.exit_code == ScanExit.TARGET_UNREACHABLE
    assert (scanned.verdict.status, scanned.verdict.end_reason) == ("failed", EndReason.TARGET_UNREACHABLE)
    assert scanned.findings == []


@pytest.mark.parametrize(
    ("status", "headers", "end_reason"),
    [
        (500, {}, EndReason.TARGET_UNREACHABLE),
        (404, {}, EndReason.TARGET_UNREACHABLE),
        (429, {}, EndReason.TARGET_UNREACHABLE),
        (401, {}, EndReason.AUTH_FAILED),
        (302, {"Location": "https://login.example/"}, EndReason.TARGET_UNREACHABLE),
    ],
)
async def test_scan_of_a_site_without_a_usable_page_is_failed(
    status: int, headers: dict[str, str], end_reason: EndReason, target: Target, scanners_dir: Path, tmp_path: Path
) -> None:
    target.status, target.headers = status, headers

    scanned = await scan(f"{target.url}/", scanners_dir, tmp_path)

    assert (scanned.verdict.status, scanned.verdict.end_reason) == ("failed", end_reason)
    assert not scanned.verdict.coverage.complete


async def test_scan_of_a_page_drawn_by_script_is_partial(target: Target, scanners_dir: Path, tmp_path: Path) -> None:
    target.body = b"<html><body><div id='app'></div><script>draw()</script></body></html>"

    scanned = await scan(f"{target.url}/", scanners_dir, tmp_path)

    assert not scanned.verdict.coverage.complete
    assert "needs_browser" in scanned.codes


async def test_scan_of_a_target_that_is_almost_all_excluded_is_partial(target: Target, scanners_dir: Path, tmp_path: Path) -> None:
    links = "".join(f"<a href='/password/p{n}'>{n}</a>" for n in range(30))
    target.headers, target.bodies = {"Content-Type": "text/html"}, {"/": f"<html>{links}</html>".encode()}

    scanned = await scan(f"{target.url}/", scanners_dir, tmp_path)

    assert (scanned.verdict.status, scanned.verdict.coverage.complete) == ("completed", False)
    assert any("links to 30 excluded addresses" in reason for reason in scanned.verdict.coverage.reasons)
    assert [seen.path for seen in target.seen if "password" in seen.path] == []


LOGIN = b"<html><form action=/login><input name=user><input type='password' name=word></form></html>"


async def test_scan_that_sees_only_a_login_is_partial(target: Target, scanners_dir: Path, tmp_path: Path) -> None:
    target.redirects, target.bodies = {"/": "/login"}, {"/login": LOGIN}

    scanned = await scan(f"{target.url}/", scanners_dir, tmp_path)

    assert (scanned.verdict.status, scanned.verdict.coverage.complete) == ("completed", False)
    assert "login_required" in scanned.codes


@pytest.mark.parametrize(("location", "code"), [("/login", "login_lost"), ("https://sso.example/", "target_changed")])
async def test_scan_that_is_sent_to_a_login_after_a_while_is_partial(
    location: str, code: str, target: Target, scanners_dir: Path, tmp_path: Path
) -> None:
    target.headers, target.body = {"Content-Type": "text/html"}, b"<html><a href='/book?id=1'>book</a></html>"
    target.redirects, target.bodies, target.patience = {"/": location, "/book": location}, {"/login": LOGIN}, 12

    scanned = await scan(f"{target.url}/", scanners_dir, tmp_path)

    assert (scanned.verdict.status, scanned.verdict.coverage.complete) == ("completed", False)
    assert code in scanned.codes


async def test_scan_whose_pages_ask_for_a_login_after_a_while_is_partial(target: Target, scanners_dir: Path, tmp_path: Path) -> None:
    target.headers, target.body = {"Content-Type": "text/html"}, b"<html><a href='/book?id=1'>book</a></html>"
    target.redirects, target.bodies, target.patience = {"/book": "/login"}, {"/login": LOGIN}, 12

    scanned = await scan(f"{target.url}/", scanners_dir, tmp_path)

    assert (scanned.verdict.status, scanned.verdict.coverage.complete) == ("completed", False)
    assert "login_lost" in scanned.codes


async def test_scan_whose_guard_died_is_not_clean(scanners_dir: Path, tmp_path: Path) -> None:
    async with shop() as url:
        guard = await _guard(url, scanners_dir, tmp_path)
        order = order_for(url, proxy_url=guard.proxy_url, work_dir=tmp_path, scanners_dir=scanners_dir)
        async with started(order) as process, asyncio.timeout(120):
            assert process.stdout is not None
            await until(lambda: guard.counters.requests > 10)
            counters = await guard.close()
            lines = [output_line.validate_json(line) async for line in process.stdout]
            exit_code = await process.wait()

    said = lines[-1] if isinstance(lines[-1], CoverageLine) else None
    verdict = judge(exit_code, said, counters, order.limits)
    assert not verdict.coverage.complete


async def test_scan_ends_with_all_its_processes_when_its_starter_is_gone(scanners_dir: Path, tmp_path: Path) -> None:
    async with shop() as url:
        guard = await _guard(url, scanners_dir, tmp_path)
        order = order_for(url, proxy_url=guard.proxy_url, work_dir=tmp_path, scanners_dir=scanners_dir)
        async with started(order) as process:
            await until(lambda: len(psutil.Process(process.pid).children()) > 0)
            scanners = psutil.Process(process.pid).children(recursive=True)

            assert process.stdin is not None
            process.stdin.close()
            await asyncio.wait_for(process.wait(), 15)
            gone, alive = await asyncio.to_thread(psutil.wait_procs, scanners, 15)
        await guard.close()

    assert process.returncode != 0
    assert (len(gone) > 0, alive) == (True, [])


async def _guard(url: str, scanners_dir: Path, work_dir: Path) -> Guard:
    return await start_guard(rules_for("scan-1", target_at(url), limits_of(), {}, None), scanners_dir, work_dir, 300)


async def test_scan_whose_disk_takes_no_file_still_says_what_it_covered(
    target: Target, guarded: StartGuard, scanners_dir: Path, tmp_path: Path
) -> None:
    told = {"openapi": "3.0.3", "paths": {"/books": {"get": {"responses": {}}}}}
    target.bodies = {"/openapi.json": json.dumps(told).encode()}
    guard = await guarded(rules_of(target))
    order = order_for(
        f"{target.url}/", preset=ModelPreset.MEDIUM, proxy_url=guard.proxy_url, work_dir=tmp_path / "gone", scanners_dir=scanners_dir
    )
    said: list[OutputLine] = []

    code = await run_scan(order, said.append)

    assert code == ScanExit.SCANNER_FAILED
    assert isinstance(said[-1], CoverageLine)
    assert any(isinstance(line, Log) and line.message.startswith("Schemathesis did not look") for line in said)


async def test_scan_without_its_scanners_says_so(tmp_path: Path) -> None:
    async with started(order_for("http://127.0.0.1:9/", work_dir=tmp_path, scanners_dir=tmp_path / "nowhere")) as process:
        assert process.stdout is not None
        lines = [output_line.validate_json(line) async for line in process.stdout]
        exit_code = await process.wait()

    assert exit_code == ScanExit.SCANNER_MISSING
    assert isinstance(lines[-1], CoverageLine)
    assert lines[-1].reasons[0].startswith("scanner_missing: ")


@pytest.mark.parametrize("order", [b"", b"{}\n", b"not json\n", b'{"proxyUrl": "http://hidden"}\n'])
async def test_scan_of_something_that_is_no_order_says_so_and_repeats_nothing(order: bytes) -> None:
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "apviso.scanning", stdin=PIPE, stdout=PIPE, stderr=PIPE)

    out, complaint = await asyncio.wait_for(process.communicate(order), 30)

    assert process.returncode == ScanExit.INVALID_ORDER
    assert isinstance(output_line.validate_json(out.splitlines()[-1]), CoverageLine)
    assert b"hidden" not in out + complaint
