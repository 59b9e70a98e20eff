"""The report over HTTP: not before the end, honest about what was not looked at, and never markup of the scanned site."""

from __future__ import annotations

from typing import Any

import pytest

from tests.server.scans.situations import Case, found

HOSTILE = "</td><script>alert(1)</script> ![x](http://evil.example/) `code` | **bold**\n# heading"


async def _report(case: Case) -> Any:
    return (await case.organization.get(f"/scans/{case.scan_id}/report")).json()["report"]


async def _finish(case: Case, job: dict[str, Any], last_seq: int = 0, **told: Any) -> None:
    ending = {"status": "completed", "endReason": "completed", "lastSeq": last_seq, "coverage": {"complete": True, "reasons": []}}
    (await case.runner.on_job(job, "finish", **(ending | told))).raise_for_status()


async def test_report_before_the_end_is_pending_with_the_progress(case: Case, job: dict[str, Any]) -> None:
    progress = {"seq": 1, "at": "2026-05-03T09:15:32Z", "type": "progress", "percent": 40, "requests": 7}
    await case.runner.on_job(job, "events", events=[progress])

    pending = await case.organization.get(f"/scans/{case.scan_id}/report")

    assert pending.status_code == 202
    assert pending.json() == {"status": "running", "progress": {"phase": None, "percent": 40, "requests": 7}}


async def test_report_of_a_complete_scan_without_findings_is_clean(case: Case, job: dict[str, Any]) -> None:
    await _finish(case, job)

    report = await _report(case)

    assert report["summary"] == {
        "verdict": "complete",
        "clean": True,
        "status": "completed",
        "endReason": "completed",
        "findingCounts": {"critical": 0, "high": 0, "medium": 0, "low": 0, "info": 0},
        "falsePositives": 0,
        "requests": 0,
        "coverage": {"complete": True, "reasons": []},
        "comparison": None,
    }
    assert {name: report[name] for name in report if name.endswith("Url")} == {
        f"{name}Url": f"/api/v1/scans/{case.scan_id}/report.{ending}"
        for name, ending in (("pdf", "pdf"), ("html", "html"), ("sarif", "sarif"), ("markdown", "md"), ("csv", "csv"), ("json", "json"))
    }
    assert "Logic flaws" in report["markdownContent"]


@pytest.mark.parametrize(
    ("ending", "verdict"),
    [
        ({"coverage": {"complete": False, "reasons": ["budget_spent"]}}, "partial"),
        ({"status": "failed", "endReason": "target_unreachable"}, "failed"),
        ({"status": "cancelled", "endReason": "canceled_by_user"}, "cancelled"),
    ],
)
async def test_report_of_a_scan_that_could_not_look_is_never_clean(
    case: Case, job: dict[str, Any], ending: dict[str, Any], verdict: str
) -> None:
    await _finish(case, job, **ending)

    summary = (await _report(case))["summary"]

    assert (summary["verdict"], summary["clean"]) == (verdict, False)


async def test_report_lists_each_finding_with_its_grading(case: Case, job: dict[str, Any]) -> None:
    graded: dict[str, Any] = {"cvssScore": 9.8, "cvssVector": "CVSS:3.1/AV:N", "detectors": ["sql"], "remediation": "Bind parameters"}
    await case.runner.on_job(job, "events", events=[found(1, **graded), found(2, "Header missing", severity="low", cweId=None)])
    await _finish(case, job, 2)

    report = await _report(case)

    text = report["markdownContent"]
    assert "### 1. SQL injection" in text
    assert "CWE-89" in text
    assert "CVSS 9.8" in text
    assert "### 2. Header missing" in text
    assert report["summary"]["findingCounts"] == {"critical": 0, "high": 1, "medium": 0, "low": 1, "info": 0}
    assert not report["summary"]["clean"]


async def test_report_shows_hostile_text_as_text(case: Case, job: dict[str, Any]) -> None:
    told = dict.fromkeys(("description", "evidence", "remediation", "url", "method", "parameter"), HOSTILE)
    await case.runner.on_job(job, "events", events=[found(1, HOSTILE, **told, detectors=[HOSTILE], reproduction=[HOSTILE, "```\nout"])])
    await _finish(case, job, 1, coverage={"complete": False, "reasons": [HOSTILE]})

    outside = _outside_fences((await _report(case))["markdownContent"])

    for markup in ("<script>", "![x](", "](http", "**bold**", "`code`", "\n# heading"):
        assert markup not in outside, markup
    assert "\\<script\\>" in outside


def _outside_fences(markdown: str) -> str:
    """The text without code blocks, read as a Markdown parser does: a fence ends at a line with as many backticks."""
    kept, fence = [], ""
    for line in markdown.splitlines():
        ticks = line[: len(line) - len(line.lstrip("`"))]
        if fence:
            fence = "" if len(ticks) >= len(fence) and not line.strip("`") else fence
        elif len(ticks) >= 3:
            fence = ticks
        else:
            kept.append(line)
    assert not fence
    return "\n".join(kept)
