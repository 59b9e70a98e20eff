"""The list of an organization's findings: filters, order, and all of it as a table."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest

from apviso.server.findings import export
from tests.server.scans.situations import Case, found, queued_scan
from tests.support.clock import Clock
from tests.support.in_turn import in_turn
from tests.support.people import Organization

Job = dict[str, Any]
FLAWS = (
    found(1, "SQL injection in q", severity="high", cweId=89, parameter="q", detectors=["sqlmap", "wapiti"]),
    found(2, "Open redirect in to", severity="medium", cweId=601, parameter="to", url="http://localhost:3000/go", detectors=["wapiti"]),
    found(3, "50%_off", severity="info", cweId=None, parameter=None, url="http://localhost:3000/Sale", detectors=['na"me', "é"]),
)


@pytest.fixture
async def seen(case: Case, job: Job, clock: Clock) -> Case:
    """Three flaws of one target, and half a minute later a fourth of another."""
    await case.runner.on_job(job, "events", events=list(FLAWS))
    await case.runner.on_job(job, "finish", status="completed", endReason="completed", lastSeq=3)
    clock.pass_by(seconds=30)
    elsewhere = await queued_scan(case.organization, case.runner)
    newest = found(1, "Old TLS", severity="low", cweId=326, parameter=None, detectors=["sslyze"], url="http://localhost:1/")
    await case.runner.on_job(await elsewhere.running(), "events", events=[newest])
    return case


@in_turn(
    ("query", "titles"),
    [
        ("", ["SQL", "Open", "Old", "50%"]),
        ("severity=high&severity=low", ["SQL", "Old"]),
        ("userStatus=open&userStatus=fixed", ["SQL", "Open", "Old", "50%"]),
        ("userStatus=fixed", []),
        ("cweId=601&cweId=326", ["Open", "Old"]),
        ("detector=wapiti", ["SQL", "Open"]),
        ("detector=sqlmap&detector=sslyze", ["SQL", "Old"]),
        ("detector=wap", []),
        ("detector=na%22me", ["50%"]),
        ("detector=%C3%A9", ["50%"]),
        ("q=SALE", ["50%"]),
        ("q=open", ["Open"]),
        ("q=%25", ["50%"]),
        ("q=0%25_o", ["50%"]),
        ("firstSeenSince=2026-05-03T09:16:00Z", ["Old"]),
        ("lastSeenSince=2026-05-03T09:15:32Z&severity=info", ["50%"]),
        ("sort=severity", ["50%", "Old", "Open", "SQL"]),
        ("sort=-severity&limit=2", ["SQL", "Open"]),
        ("sort=-lastSeen&limit=1", ["Old"]),
        ("sort=-firstSeen&limit=1", ["Old"]),
        ("sort=lastSeen&page=4&limit=1", ["Old"]),
        ("severity=high&cweId=601", []),
    ],
)
async def test_findings_asked_for_are_those_that_fit_in_their_order(seen: Case, query: str, titles: list[str]) -> None:
    answer = (await seen.organization.get(f"/findings?{query}")).raise_for_status().json()

    assert [one["title"].split()[0].split("_")[0] for one in answer["findings"]] == titles


async def test_findings_of_several_targets_are_told_by_their_target(seen: Case) -> None:
    targets = [one["id"] for one in (await seen.organization.get("/targets")).json()["targets"]]

    of_one = (await seen.organization.get(f"/findings?targetId={seen.target['id']}")).json()
    of_both = (await seen.organization.get(f"/findings?targetId={targets[0]}&targetId={targets[1]}")).json()

    assert ({one["targetId"] for one in of_one["findings"]}, of_one["total"]) == ({seen.target["id"]}, 3)
    assert of_both["total"] == 4


@in_turn("query", ["severity=bad", "sort=title", "cweId=x", "firstSeenSince=yesterday", "format=xml", f"q={'x' * 201}"])
async def test_findings_asked_for_by_a_bad_filter_are_refused(acme: Organization, query: str) -> None:
    answer = await acme.get(f"/findings?{query}")

    assert (answer.status_code, answer.json()["errors"][0]["field"].partition(".")[0]) == (422, query.partition("=")[0])


async def test_findings_as_a_table_are_all_that_fit_in_their_order(seen: Case, other: Organization) -> None:
    answer = await seen.organization.get("/findings?format=csv&detector=wapiti&sort=severity&limit=1")

    rows = list(csv.DictReader(io.StringIO(answer.text, newline="")))
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["content-disposition"] == 'attachment; filename="findings-2026-05-03.csv"'
    assert [(row["title"], row["severity"], row["cweId"], row["detectors"]) for row in rows] == [
        ("Open redirect in to", "medium", "601", "wapiti"),
        ("SQL injection in q", "high", "89", "sqlmap, wapiti"),
    ]
    assert (await other.get("/findings?format=csv")).text == export.heading()


async def test_findings_as_a_table_that_would_be_cut_are_refused(seen: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "MAX_ROWS", 3)

    refused = await seen.organization.get("/findings?format=csv")
    whole = await seen.organization.get("/findings?format=csv&severity=high&severity=low&severity=info")

    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "format")
    assert len(whole.text.splitlines()) == 4
