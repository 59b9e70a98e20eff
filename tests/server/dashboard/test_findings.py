"""The findings' pages: list, filters, files, one finding, and what people say of it."""

from __future__ import annotations

import csv
import io
import json

import pytest

from tests.server.scans.situations import ENDED, Case, found, queued_scan
from tests.support.control_plane import Plane
from tests.support.people import Organization, Runner
from tests.support.visitors import Visitor, forms_of, visitor

HOSTILE = "<img src=x onerror=alert(1)>{{ 7 * 7 }}\u202eevil\x1b[31m\u2066"
ALL = "/findings?sort=-severity"
VECTOR = "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:N/A:N"


@pytest.fixture
async def case(acme: Organization, runner: Runner) -> Case:
    """A finding of each severity but info, of a scan that has ended."""
    case = await queued_scan(acme, runner)
    flaws = [
        found(1, "SQL injection in q", severity="critical", evidence="row 1\nrow 2", cvssVector=VECTOR),
        found(2, "Reflected XSS", severity="high", cweId=79, parameter="name"),
        found(3, "Cookie without Secure", severity="medium", cweId=614, parameter=None),
        found(4, "Missing HSTS", severity="low", cweId=319, parameter=None, url="http://localhost:3000/=cmd"),
    ]
    job = await case.running()
    (await runner.on_job(job, "events", events=flaws)).raise_for_status()
    (await runner.on_job(job, "finish", **{**ENDED, "lastSeq": 4})).raise_for_status()
    return case


async def ids(case: Case) -> dict[str, str]:
    answer = (await case.organization.get("/findings")).json()
    return {one["title"]: one["id"] for one in answer["findings"]}


def titles(page: str) -> list[str]:
    known = ("SQL injection in q", "Reflected XSS", "Cookie without Secure", "Missing HSTS")
    body = page.partition('<tbody id="findings" data-news="finding">')[2]
    return sorted((title for title in known if f"<bdi>{title}</bdi>" in body), key=body.index)


async def test_list_shows_what_fits_its_filters_in_its_order(case: Case, owner: Visitor, viewer: Visitor) -> None:
    fixed = (await ids(case))["Missing HSTS"]
    await case.organization.patch(f"/findings/{fixed}/status", {"userStatus": "fixed"})

    everything, to_do = (await owner.get(ALL)).text, (await owner.get("/findings")).text

    assert titles(everything) == ["SQL injection in q", "Reflected XSS", "Cookie without Secure", "Missing HSTS"]
    assert titles(to_do) == ["SQL injection in q", "Reflected XSS", "Cookie without Secure"]
    assert case.target["domain"] in everything
    assert titles((await owner.get("/findings?severity=high&severity=medium")).text) == ["Reflected XSS", "Cookie without Secure"]
    assert titles((await owner.get("/findings?status=fixed&sort=severity")).text) == ["Missing HSTS"]
    assert titles((await owner.get("/findings?q=xss")).text) == ["Reflected XSS"]
    assert titles((await owner.get("/findings?sort=severity")).text)[0] == "Missing HSTS"
    nothing = await owner.get("/findings?target=nobody&severity=nonsense&sort=nonsense&q=")
    assert (nothing.status_code, titles(nothing.text)) == (200, [])
    assert "No finding matches." in nothing.text
    assert "/findings/status" in forms_of(everything)
    assert "/findings/status" not in forms_of((await viewer.get(ALL)).text)


async def test_files_hold_what_the_list_shows_to_its_organization(case: Case, owner: Visitor, other: Organization, plane: Plane) -> None:
    table, document = (
        await owner.get("/findings/export.csv?severity=low"),
        await owner.get("/findings/export.json?severity=high&severity=low"),
    )
    rows = list(csv.DictReader(io.StringIO(table.text)))

    assert [row["title"] for row in rows] == ["Missing HSTS"]
    assert "attachment" in table.headers["content-disposition"]
    assert [one["title"] for one in json.loads(document.text)["findings"]] == ["Reflected XSS", "Missing HSTS"]
    assert document.headers["content-type"] == "application/json"
    assert json.loads((await owner.get("/findings/export.json?q=nothing+of+that")).text) == {"findings": []}
    stranger, path = await visitor(plane, other.id), f"/findings/{(await ids(case))['Reflected XSS']}"
    assert (await stranger.get(path)).status_code == 404
    assert titles((await stranger.get(ALL)).text) == []
    assert json.loads((await stranger.get("/findings/export.json")).text) == {"findings": []}


async def test_finding_shows_evidence_as_text_and_takes_a_status_with_its_end(case: Case, owner: Visitor, viewer: Visitor) -> None:
    path = f"/findings/{(await ids(case))['SQL injection in q']}"
    before = (await owner.get(path)).text
    assert "<bdi>row 1\nrow 2</bdi></pre>" in before
    assert all(word in before for word in ("CWE-89", "7.5", "Seen in 1 of the last 1 scans", "Nobody has said anything"))

    wrong = await owner.submit(path, f"{path}/status", userStatus="fixed", note="my note", until="2026-09-01")
    unreadable = await owner.submit(path, f"{path}/status", userStatus="accepted_risk", until="soon")
    right = await owner.submit(path, f"{path}/status", userStatus="accepted_risk", note="behind VPN", until="2026-09-01")

    assert (wrong.status_code, unreadable.status_code) == (422, 422)
    assert "goes with accepted_risk alone" in wrong.text
    assert 'value="my note"' in wrong.text
    assert right.headers["location"] == path
    finding = (await case.organization.get(path)).json()["finding"]
    assert (finding["userStatus"], finding["acceptedUntil"]) == ("accepted_risk", "2026-09-01T00:00:00Z")
    after = (await viewer.get(path)).text
    assert "behind VPN" in after
    assert "open → accepted risk" in after
    assert f"{path}/status" not in forms_of(after)
    assert (await viewer.post(f"{path}/status", {**forms_of(after)["/sign-out"], "userStatus": "open"})).status_code == 403


async def test_ticked_findings_get_one_status_together(case: Case, owner: Visitor) -> None:
    known = await ids(case)
    ticked = [known["Reflected XSS"], known["Missing HSTS"], "01a22ae3-0000-7000-8000-000000000000"]

    done = await owner.submit(ALL, "/findings/status", finding=ticked, userStatus="false_positive", note="seen by hand")
    nothing = await owner.submit(ALL, "/findings/status", userStatus="fixed", back="//elsewhere.example/")
    refused = await owner.submit(ALL, "/findings/status", finding=ticked[:1], userStatus="open", until="2026-09-01")

    assert done.headers["location"].startswith(ALL)
    assert nothing.headers["location"] == "/findings"
    statuses = {one["title"]: one["userStatus"] for one in (await case.organization.get("/findings")).json()["findings"]}
    assert [title for title, status in statuses.items() if status == "false_positive"] == ["Reflected XSS", "Missing HSTS"]
    assert refused.headers["location"].startswith(ALL)
    assert "Nothing was changed" in (await owner.get(ALL)).text


async def test_whatever_a_scanned_site_wrote_is_text(acme: Organization, runner: Runner, owner: Visitor) -> None:
    case, long = await queued_scan(acme, runner), HOSTILE + "x" * 10_000
    flaw = found(1, (HOSTILE + "t" * 300)[:300], url=(HOSTILE + "u" * 4000)[:4000], reproduction=[long], method=HOSTILE)
    flaw["finding"] |= {"description": long, "evidence": long, "remediation": long, "parameter": HOSTILE, "detectors": [HOSTILE]}
    (await runner.on_job(await case.running(), "events", events=[flaw])).raise_for_status()
    (finding,) = (await acme.get("/findings")).json()["findings"]
    await acme.patch(f"/findings/{finding['id']}/status", {"userStatus": "open", "note": HOSTILE})

    for path in ("/", ALL, f"/findings/{finding['id']}", f"/findings?q={HOSTILE.encode().hex()}"):
        page = (await owner.get(path)).text

        assert "<img" not in page, path
        assert not any(mark in page for mark in ("\u202e", "\x1b", "\u2066")), path
    shown = (await owner.get(f"/findings/{finding['id']}")).text
    assert shown.count("&lt;img src=x onerror=alert(1)&gt;{{ 7 * 7 }}⟨U+202E⟩evil␛[31m") >= 9
