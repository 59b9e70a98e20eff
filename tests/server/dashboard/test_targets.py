"""Targets on pages: added, edited, proved, judged, scanned and deleted by forms without script."""

from __future__ import annotations

from tests.support.control_plane import Plane
from tests.support.people import Organization, Runner
from tests.support.visitors import Visitor, forms_of, visitor


async def test_target_is_added_edited_and_deleted_by_forms(acme: Organization, owner: Visitor) -> None:
    wrong = await owner.submit("/targets/add", "/targets/add", domain="127.0.0.1", visibility="public")
    windows: dict[str, str | list[str]] = {"days0": ["1", "2"], "start0": "22:00", "end0": "04:00", "zone0": "Europe/Berlin"}
    added = await owner.submit("/targets/add", "/targets/add", domain="intranet.example.com", visibility="private_internal", **windows)
    page = added.headers["location"]
    shown = (await owner.get(page)).text
    edit = f"{page}/edit"
    refused = await owner.submit(edit, edit, visibility="private_internal", start0="22:00", end0="04:00", zone0="Mars/Olympus", days0="1")
    changed = await owner.submit(edit, edit, visibility="private_internal", scanUrl="https://intranet.example.com/app", start0="", end0="")
    target = (await acme.get(page)).json()["target"]
    asked = (await owner.get(f"{page}/delete")).text
    gone = await owner.submit(f"{page}/delete", f"{page}/delete")

    assert (wrong.status_code, refused.status_code) == (422, 422)
    assert 'value="127.0.0.1"' in wrong.text
    assert "Europe/Berlin" in refused.text
    assert forms_of(refused.text)[edit]["zone0"] == "Mars/Olympus"
    assert "Mon, Tue 22:00 to 04:00 Europe/Berlin" in shown
    assert changed.headers["location"] == page
    assert (target["scanUrl"], target["scanWindows"]) == ("https://intranet.example.com/app", [])
    assert "It was never scanned." in asked
    assert gone.headers["location"] == "/targets"
    assert "No target yet" in (await owner.get("/targets")).text


async def test_target_page_says_why_no_scan_can_start_and_starts_one(acme: Organization, owner: Visitor, viewer: Visitor) -> None:
    target = await acme.target()
    page = f"/targets/{target['id']}"
    alone = (await owner.get(page)).text
    refused = await owner.submit(page, f"{page}/scan", modelPreset="free")
    runner = await acme.runner("a <b>runner</b>")
    ready = (await owner.get(f"{page}?runner={runner.id}")).text
    started = await owner.submit(f"{page}?runner={runner.id}", f"{page}/scan", modelPreset="free")
    scan = (await acme.get(started.headers["location"])).json()["scan"]
    again = await owner.submit(page, f"{page}/scan", modelPreset="nonsense")

    # The blocker comes first and is open; what passes is one line each.
    assert alone.index("check-runner_registered") < alone.index("check-license_active")
    assert "<dt>Fix</dt>" in alone
    assert refused.status_code == 409
    assert 'role="alert"' in refused.text
    assert "A scan can start now." in ready
    assert "a &lt;b&gt;runner" in ready
    assert (scan["modelPreset"], scan["runnerId"]) == ("free", runner.id)
    assert again.status_code == 422
    watched = await viewer.get(page)
    assert "Start scan" not in watched.text
    assert (await viewer.post(f"{page}/scan", forms_of(watched.text)["/sign-out"])).status_code == 403


async def test_proof_of_control_is_explained_and_what_was_seen_is_told(acme: Organization, owner: Visitor) -> None:
    target = await acme.target("shop.invalid", "public")
    page = f"/targets/{target['id']}/proof"
    shown = (await owner.get(page)).text
    looked = await owner.submit(page, page, method="dns_txt")
    needless = await acme.target("localhost:4000")

    assert "_apviso-challenge.shop.invalid" in shown
    assert "/.well-known/apviso-challenge.txt" in shown
    assert "&lt;meta name=" in shown
    assert looked.status_code == 409
    assert "<dt>Seen</dt>" in looked.text
    assert "the scope file of the runner" in (await owner.get(f"/targets/{needless['id']}/proof")).text


async def test_hostile_words_of_targets_and_scans_are_text(plane: Plane, acme: Organization, runner: Runner, owner: Visitor) -> None:
    hostile = "<script>alert(1)</script><b>\u202e\u200b\x1b[31m"
    long = f"{hostile}{'x' * 10_000}"
    target = await acme.target()
    scan = (await acme.scan(target["id"]))["scan"]["id"]
    flaw = {"title": hostile, "severity": "high", "url": long[:4000], "description": long, "evidence": long}
    events = [
        {"seq": 1, "at": "2026-05-03T09:15:32Z", "type": "finding", "finding": flaw},
        {"seq": 2, "at": "2026-05-03T09:15:32Z", "type": "log", "level": "warning", "message": long},
        {"seq": 3, "at": "2026-05-03T09:15:32Z", "type": "phase", "name": hostile},
        {"seq": 4, "at": "2026-05-03T09:15:32Z", "type": "stats", "requests": 1, "refused": 1, "refusals": {hostile: 1}},
    ]
    job = await runner.claimed()
    (await runner.on_job(job, "preflight", ok=True)).raise_for_status()
    (await runner.on_job(job, "start")).raise_for_status()
    (await runner.on_job(job, "events", events=events)).raise_for_status()
    pages = [f"/scans/{scan}", f"/scans/{scan}/log", f"/scans/{scan}/log/lines"]
    running = [(await owner.get(path)).text for path in pages]
    ending = {"status": "failed", "endReason": "scanner_failed", "errorCode": hostile, "errorMessage": long[:2000], "lastSeq": 4}
    coverage = {"complete": False, "reasons": [hostile]}
    (await runner.on_job(job, "finish", **ending, coverage=coverage)).raise_for_status()
    paths = [*pages, f"/scans/{scan}/retest", "/scans", f"/targets/{target['id']}", "/targets"]
    ended = [(await owner.get(path)) for path in paths]

    assert {answer.status_code for answer in ended} == {200}
    for text in (*running, *(answer.text for answer in ended)):
        assert "<script>alert" not in text or text.startswith("[[")
        assert not {"\u202e", "\u200b", "\x1b"} & set(text)
    assert "&lt;script&gt;alert(1)" in running[0]


async def test_other_organizations_targets_and_scans_are_not_there(plane: Plane, acme: Organization, other: Organization) -> None:
    target = await acme.target()
    scan = (await acme.scan(target["id"]))["scan"]["id"]
    stranger = await visitor(plane, other.id)
    at_target = [f"/targets/{target['id']}{part}" for part in ("", "/edit", "/delete", "/proof")]
    at_scan = [f"/scans/{scan}{part}" for part in ("", "/log", "/log/lines", "/cancel", "/retest", "/report.html")]

    assert {(await stranger.get(path)).status_code for path in at_target + at_scan} == {404}
    assert target["id"] not in (await stranger.get("/scans")).text
