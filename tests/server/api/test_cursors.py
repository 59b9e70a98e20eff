"""Lists that can grow go by cursor: nothing is listed twice or left out, whatever is new meanwhile."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from typing import Any

import pytest

from tests.support.clock import Clock
from tests.support.people import Organization, Runner


def finding(seq: int, severity: str) -> dict[str, Any]:
    flaw = {"title": f"Flaw {seq}", "severity": severity, "url": f"http://localhost:3000/{seq}"}
    return {"seq": seq, "at": "2026-05-03T09:15:32Z", "type": "finding", "finding": flaw}


async def ended_scan(acme: Organization, runner: Runner, domain: str = "localhost:3000") -> str:
    """A scan with five findings."""
    scan = (await acme.scan((await acme.target(domain))["id"]))["scan"]
    severities = ("low", "high", "high", "critical", "low")
    events = [finding(seq, severity) for seq, severity in enumerate(severities, 1)]
    (await runner.run_whole(await runner.claimed(), *events)).raise_for_status()
    return str(scan["id"])


async def walk(acme: Organization, path: str, name: str) -> list[list[dict[str, Any]]]:
    """Every page by its cursor, two items each."""
    pages, cursor = [], ""
    while True:
        answer = (await acme.get(f"{path}?limit=2{cursor}")).raise_for_status().json()
        pages.append(answer[name])
        if answer["nextCursor"] is None:
            return pages
        assert len(pages) < 10, "it goes round in circles"
        cursor = f"&cursor={answer['nextCursor']}"


@pytest.mark.parametrize("path", ["/findings", "/scans/{scan}/findings"])
async def test_findings_by_cursor_are_those_of_the_pages_in_their_order(acme: Organization, runner: Runner, path: str) -> None:
    path = path.replace("{scan}", await ended_scan(acme, runner))
    whole = (await acme.get(path)).json()["findings"]

    pages = await walk(acme, path, "findings")

    assert [len(page) for page in pages] == [2, 2, 1]
    assert [found for page in pages for found in page] == whole
    assert [found["severity"] for found in whole] == ["critical", "high", "high", "low", "low"]


async def test_scans_that_start_meanwhile_shift_nothing(acme: Organization, clock: Clock) -> None:
    for number in range(3):
        clock.pass_by(seconds=number % 2)
        await acme.scan((await acme.target(f"localhost:300{number}"))["id"])
    first = (await acme.get("/scans?limit=2")).json()

    clock.pass_by(seconds=1)
    await acme.scan((await acme.target("localhost:4000"))["id"])
    second = (await acme.get(f"/scans?limit=2&cursor={first['nextCursor']}")).json()

    assert len({scan["id"] for scan in first["scans"] + second["scans"]}) == 3
    assert second["nextCursor"] is None
    assert second["total"] == 4


async def test_audit_events_by_cursor_are_those_of_the_pages(acme: Organization, clock: Clock) -> None:
    for number in range(3):
        clock.pass_by(milliseconds=1)
        await acme.target(f"localhost:300{number}")
    whole = (await acme.get("/audit-events")).json()["auditEvents"]

    pages = await walk(acme, "/audit-events", "auditEvents")

    assert [event for page in pages for event in page] == whole
    assert len(whole) == 5


async def test_deliveries_that_come_meanwhile_shift_nothing(acme: Organization) -> None:
    made = await acme.post("/webhooks", {"url": "https://hooks.example.com/", "events": ["*"], "enabled": False})
    path = f"/webhooks/{made.json()['webhook']['id']}"
    sent = [(await acme.post(f"{path}/test")).json()["delivery"]["id"] for _ in range(3)]
    first = (await acme.get(f"{path}/deliveries?limit=2")).json()

    await acme.post(f"{path}/test")
    second = (await acme.get(f"{path}/deliveries?limit=2&cursor={first['nextCursor']}")).json()

    assert [one["id"] for one in first["deliveries"] + second["deliveries"]] == sent[::-1]
    assert second["nextCursor"] is None


async def test_log_goes_on_by_its_cursor_as_by_its_last_number(acme: Organization, runner: Runner) -> None:
    path = f"/scans/{await ended_scan(acme, runner)}/log"
    part = (await acme.get(f"{path}?after=3")).json()
    before = (await acme.get(f"{path}?after=0")).json()

    rest = (await acme.get(f"{path}?cursor={part['nextCursor']}")).json()

    assert [event["seq"] for event in part["events"]] == [4, 5]
    assert (rest["events"], rest["lastSeq"]) == ([], 5)
    assert before["nextCursor"] == part["nextCursor"] == rest["nextCursor"]


async def test_cursor_that_no_list_gave_is_refused(acme: Organization) -> None:
    scan = f"/scans/{(await acme.scan((await acme.target())['id']))['scan']['id']}"
    made = await acme.post("/webhooks", {"url": "https://hooks.example.com/", "events": ["*"]})
    log = f"/webhooks/{made.json()['webhook']['id']}/deliveries"
    foreign = [urlsafe_b64encode(text).decode() for text in (b"[]", b'["a","b"]', b'{"a":1}', b"[null,null]")]
    asked = [
        f"{path}?cursor={cursor}"
        for path in ("/scans", "/findings", "/audit-events", f"{scan}/log", f"{scan}/findings", log)
        for cursor in ("nonsense", "%F0%9F", "x" * 401, *foreign)
    ]

    refused = {query: await acme.get(query) for query in asked}

    assert {answer.status_code for answer in refused.values()} == {422}
    assert {answer.json()["errors"][0]["field"] for answer in refused.values()} == {"cursor"}


async def test_cursor_beside_a_later_page_is_refused(acme: Organization) -> None:
    refused = await acme.get("/audit-events?limit=1&page=2&cursor=" + (await acme.get("/audit-events?limit=1")).json()["nextCursor"])

    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "cursor")
