"""Whole retests as the runner starts them: a really fixed, a still open and an unreachable finding of the demo shop."""

from __future__ import annotations

from pathlib import Path

import pytest

from apviso.protocol.findings import Finding
from apviso.protocol.scan_events import LookLine
from apviso.protocol.states import RetestOutcome
from apviso.scanning.catalogue import FlawClass
from apviso.server.findings.fingerprint import fingerprint
from apviso.server.scans.retest import Retested, outcome_of
from tests.scanning.conftest import Target
from tests.scanning.flaws import flaw_at
from tests.scanning.test_scan import Scanned, scan, shop, visits

pytestmark = pytest.mark.slow
FIXED, STILL_OPEN, COULD_NOT_CHECK = RetestOutcome.FIXED, RetestOutcome.STILL_OPEN, RetestOutcome.COULD_NOT_CHECK


def outcomes(scanned: Scanned, findings: list[Finding]) -> dict[FlawClass, RetestOutcome]:
    """As the control plane decides them of what was said."""
    seen = {fingerprint(found) for found in scanned.findings}
    looks = {line.finding_id: line for line in scanned.lines if isinstance(line, LookLine)}
    ended = Retested(scanned.verdict.status == "completed", scanned.verdict.coverage.complete)
    decided = {one.id: outcome_of(ended, looks.get(one.id), was_seen=one.fingerprint in seen)[0] for one in findings}
    return {FlawClass(id_): outcome for id_, outcome in decided.items()}


async def test_retest_of_the_shop_tells_the_fixed_from_the_open_and_the_unreachable(scanners_dir: Path, tmp_path: Path) -> None:
    async with shop("--fixed", "/go", "--fixed", "/book", "--closed", "/download") as url:
        origin = url.rstrip("/")
        findings = [
            flaw_at(origin, FlawClass.OPEN_REDIRECT, "/go", "to", query="to=https%3A%2F%2Felsewhere.example"),
            flaw_at(origin, FlawClass.SQL_INJECTION, "/book", "id", query="id=%27"),
            flaw_at(origin, FlawClass.REFLECTED_XSS, "/search", "q", query="q=%3Cscript%3E"),
            flaw_at(origin, FlawClass.PATH_TRAVERSAL, "/download", "file", query="file=..%2F..%2Fetc%2Fpasswd"),
            flaw_at(origin, FlawClass.CLICKJACKING, "/"),
            flaw_at(origin, FlawClass.CLEARTEXT_TRANSPORT, "/", detector="first-look"),
        ]

        scanned = await scan(url, scanners_dir, tmp_path, retest=findings)

        counted = visits(url)

    assert outcomes(scanned, findings) == {
        FlawClass.OPEN_REDIRECT: FIXED,
        FlawClass.SQL_INJECTION: FIXED,
        FlawClass.REFLECTED_XSS: STILL_OPEN,
        FlawClass.PATH_TRAVERSAL: COULD_NOT_CHECK,
        FlawClass.CLICKJACKING: STILL_OPEN,
        FlawClass.CLEARTEXT_TRANSPORT: STILL_OPEN,
    }
    assert {one.title for one in scanned.findings} <= {one.title for one in findings}
    # Nothing was attacked but the places of the findings: of the others the crawl alone has asked.
    assert max(counted[path] for path in ("/author", "/greeting", "/contact")) < 5 < counted["/search"]


async def test_retest_of_a_place_that_answers_attacks_with_errors_calls_nothing_fixed(
    target: Target, scanners_dir: Path, tmp_path: Path
) -> None:
    target.headers, target.body = {"Content-Type": "text/html"}, b"<html><a href='/book?id=1'>book</a></html>"
    target.fails_at = "'"
    findings = [flaw_at(target.url, FlawClass.SQL_INJECTION, "/book", "id", query="id=%27")]

    scanned = await scan(f"{target.url}/", scanners_dir, tmp_path, retest=findings)

    assert outcomes(scanned, findings) == {FlawClass.SQL_INJECTION: COULD_NOT_CHECK}
    assert scanned.findings == []
