"""Scans on pages: why one waits, what became of each attempt, its log by pages and for the script, its end, its report, a retest."""

from __future__ import annotations

from typing import Any

import pytest

from apviso.protocol.states import EndReason
from apviso.server.dashboard.rendering import POLICY
from apviso.server.dashboard.scan_words import ENDINGS, lines_of
from apviso.server.reports import as_html
from tests.support.clock import Clock
from tests.support.people import Organization, Runner
from tests.support.visitors import Visitor


def said(seq: int, message: str = "hello", level: str = "info") -> dict[str, Any]:
    return {"seq": seq, "at": "2026-05-03T09:15:32Z", "type": "log", "level": level, "message": message}


def found(seq: int, title: str, severity: str) -> dict[str, Any]:
    flaw = {"title": title, "severity": severity, "url": f"http://localhost:3000/{severity}"}
    return {"seq": seq, "at": "2026-05-03T09:15:32Z", "type": "finding", "finding": flaw}


async def started(runner: Runner) -> dict[str, Any]:
    job = await runner.claimed()
    (await runner.on_job(job, "preflight", ok=True)).raise_for_status()
    (await runner.on_job(job, "start")).raise_for_status()
    return job


async def test_queued_scan_says_what_it_waits_for_and_leaves_the_queue(acme: Organization, owner: Visitor, viewer: Visitor) -> None:
    target = await acme.target()
    scan = (await acme.scan(target["id"]))["scan"]["id"]
    page = (await owner.get(f"/scans/{scan}")).text
    listed = (await owner.get("/scans?status=pending_runner")).text
    asked = (await owner.get(f"/scans/{scan}/cancel")).text
    answer = await owner.submit(f"/scans/{scan}/cancel", f"/scans/{scan}/cancel")

    assert "Why this scan is waiting" in page
    assert "Cancel scan" in page
    assert "Cancel scan" not in (await viewer.get(f"/scans/{scan}")).text
    assert "<dt>Fix</dt>" in page
    assert target["domain"] in listed
    assert scan not in (await owner.get("/scans?status=running")).text
    assert "leaves the queue at once" in asked
    assert answer.headers["location"] == f"/scans/{scan}"
    assert (await acme.get(f"/scans/{scan}")).json()["scan"]["status"] == "cancelled"
    assert "It has ended already" in (await owner.get(f"/scans/{scan}/cancel")).text


async def test_each_attempt_has_its_log_and_says_how_it_ended(acme: Organization, runner: Runner, owner: Visitor, clock: Clock) -> None:
    scan = (await acme.scan((await acme.target())["id"]))["scan"]["id"]
    job = await started(runner)
    (await runner.on_job(job, "events", events=[said(1, "of the first attempt"), said(2, "in detail", "debug")])).raise_for_status()
    full = {"status": "failed", "endReason": "disk_full", "errorMessage": "12 bytes left", "lastSeq": 2}
    (await runner.on_job(job, "finish", **full)).raise_for_status()
    runner = await acme.runner("runner-2")
    clock.pass_by(seconds=30)
    (await runner.beat()).raise_for_status()
    job = await started(runner)
    events = [said(1, "of the second attempt"), found(2, "A mild flaw", "low"), found(3, "A grave flaw", "critical")]
    (await runner.on_job(job, "events", events=[*events, *(said(n) for n in range(4, 520))])).raise_for_status()
    page, old = (await owner.get(f"/scans/{scan}")).text, (await owner.get(f"/scans/{scan}?attempt=1")).text
    log = [(await owner.get(f"/scans/{scan}/log{query}")).text for query in ("", "?attempt=1&level=info", "?after=500")]
    lines = (await owner.get(f"/scans/{scan}/log/lines?attempt=2&after=1&limit=2")).json()

    assert 'href="/scans/' + scan + '?attempt=1"' in page
    assert page.index("A grave flaw") < page.index("A mild flaw")
    assert "Attempt 1" in old
    assert "disk full" in old
    assert ENDINGS[EndReason.DISK_FULL] in old.replace("&#39;", "'")
    assert "12 bytes left" in old
    assert "lines 1 to 500 of 519" in log[0]
    assert "of the second attempt" in log[0]
    assert "of the first attempt" in log[1]
    assert "in detail" not in log[1]
    assert "lines 501 to 519 of 519" in log[2]
    assert lines == [
        [2, "09:15:32", "info", "Finding (low): A mild flaw at GET http://localhost:3000/low"],
        [3, "09:15:32", "info", "Finding (critical): A grave flaw at GET http://localhost:3000/critical"],
    ]


async def test_ended_scan_says_what_it_looked_at_and_its_findings_are_tested_again(
    acme: Organization, runner: Runner, owner: Visitor
) -> None:
    target = await acme.target()
    first = (await acme.scan(target["id"]))["scan"]["id"]
    await runner.run_whole(await runner.claimed(), found(1, "A gone flaw", "high"))
    (await runner.beat()).raise_for_status()
    scan = (await acme.scan(target["id"]))["scan"]["id"]
    early = await owner.get(f"/scans/{scan}/report.html")
    job = await started(runner)
    events = [found(1, "A mild flaw", "low"), found(2, "A grave flaw", "high")]
    (await runner.on_job(job, "events", events=events)).raise_for_status()
    coverage = {"complete": False, "reasons": ["budget_spent: 200 of 200 requests"]}
    (await runner.on_job(job, "finish", status="completed", endReason="completed", lastSeq=2, coverage=coverage)).raise_for_status()
    page = (await owner.get(f"/scans/{scan}")).text
    files = {kind: await owner.get(f"/scans/{scan}/report.{kind}") for kind in ("html", "md", "sarif", "csv", "json", "exe")}
    grave = (await acme.get(f"/scans/{scan}/findings?severity=high")).json()["findings"][0]["id"]
    (await runner.beat()).raise_for_status()
    asked = f"/scans/{scan}/retest?finding={grave}&page=1"
    again = await owner.submit(asked, f"/scans/{scan}/retest", modelPreset="free")
    retest = (await acme.get(again.headers["location"])).json()["scan"]

    assert early.headers["location"] == f"/scans/{scan}"
    assert page.index("The scan is partial") < page.index("A grave flaw")
    assert "budget_spent: 200 of 200 requests" in page
    assert "Logic flaws" in page
    assert f'href="/scans/{first}"' in page
    assert "2 new, 0 still there" in page
    assert {kind: answer.status_code for kind, answer in files.items()} == dict.fromkeys(files, 200) | {"exe": 404}
    # The report is an origin of its own: nothing in it can act in anybody's name.
    assert files["html"].headers["content-security-policy"] == as_html.policy() != POLICY
    assert files["sarif"].headers["content-disposition"].startswith("attachment")
    assert (retest["isRetest"], retest["parentScanId"], retest["findingIds"]) == (True, scan, [grave])
    assert "Findings that are tested again" in (await owner.get(again.headers["location"])).text


def test_every_way_to_end_has_words() -> None:
    assert set(ENDINGS) == set(EndReason)


@pytest.mark.parametrize(
    ("event", "level", "text"),
    [
        ({"type": "log", "level": "error", "message": "a\x1b[31m"}, "error", "a␛[31m"),
        ({"type": "log", "level": "loud", "message": "x" * 30}, "info", f"{'x' * 20}… (10 more characters in the whole log)"),
        ({"type": "phase", "name": "attack"}, "info", "Phase: attack"),
        ({"type": "progress", "percent": 4.5, "requests": 9}, "debug", "4.5 %, 9 requests"),
        ({"type": "stats", "requests": 9, "refused": 1, "bytes": 0, "refusals": {"path": 1}}, "debug", "Guard: 9 requests le… ("),
        ({"type": "of tomorrow"}, "debug", "of tomorrow"),
    ],
)
def test_event_is_one_line(event: dict[str, Any], level: str, text: str) -> None:
    line = lines_of([{"seq": 7, "at": "2026-05-03T09:15:32Z", **event}], longest=20)[0]

    assert (line.seq, line.at, line.level) == (7, "09:15:32", level)
    assert line.text.startswith(text)
