"""Every page there is, by the list of routes, with hostile words in every field that a runner, a scanned site or a person fills."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Dialog, Page, expect

from tests.browser.desk import PASSWORD, ROUTES, Desk, barriers
from tests.browser.hand import Hand, found, log

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
PHONE = {"width": 390, "height": 844}
WORDS = "<b id=injected>b</b><img src=x onerror=alert(1)>\u202e\x1b[31m{{7*7}}"
# What is no page: streams, data for scripts, files; and the doors of those who are not signed in.
NO_PAGES = {"/live", "/findings/export.csv", "/findings/export.json", "/scans/{id}/log/lines", "/static/{name}", "/favicon.ico"}
DOORS = {"/sign-in", "/sign-in/oidc", "/sign-in/oidc/back", "/set-up"}
PAGES = [route.path for route in ROUTES if "GET" in (route.methods or ()) and route.path not in NO_PAGES | DOORS]
# Pages that show nothing but addresses, which cannot hold such words.
ONLY_ADDRESSES = {
    *("/targets", "/targets/add", "/targets/{id}/edit", "/targets/{id}/delete", "/targets/{id}/proof", "/scans/{id}/cancel"),
    *("/schedules", "/schedules/{id}", "/schedules/{id}/delete"),
    *("/webhooks/add", "/webhooks/{id}/edit", "/webhooks/{id}/delete", "/webhooks/{id}/rotate-secret"),
    *("/settings", "/settings/me"),
}
# The others with axe-core elsewhere: those with a fixed address in test_frame.py, those of one thing where something is done with it.
LOOKED_AT = ("/users/{id}", "/edit", "/log", "/proof", "/retest", "/pause", "/revoke")
# What everybody may do, to themselves.
OWN = re.compile(r"/sign-out|/settings/me/password|/settings/me/sessions/[^/]+/end")


def hostile(most: int) -> str:
    """As long as the field takes, which is 10 kB where it takes as much."""
    return (WORDS + "n" * 10_000)[:most]


@pytest.fixture(scope="module")
def places(_owners_desk: Desk) -> dict[str, str]:
    """An id for each kind of thing that a page is about, all with hostile words in them."""
    made = _owners_desk.installation
    word, labels = hostile(64), [hostile(64), "n" * 64]
    hand = Hand(made, hostile(120)).enroll(labels=labels, os=word, arch=word, containerEngine=word, version=word)
    facts = {"modelProvider": hostile(5_000), hostile(500): [hostile(500), None, True]}
    capabilities = {"engine": {"version": hostile(5_000)}}
    beat = {"bootId": "boot", "beatSeq": 9, "version": word, "providerState": facts, "capabilities": capabilities}
    hand.call("/heartbeat", beat)
    made.call("POST", f"/runners/{hand.id}/pause", {"note": hostile(1_000)})
    domain = ".".join(["n" * 60] * 3) + ".internal"
    address = f"https://{domain}/{'n' * 1_700}"
    about = {"domain": domain, "visibility": "private_internal", "scanUrl": address, "displayUrl": address}
    target = made.call("POST", "/targets", about)["target"]["id"]
    public = made.call("POST", "/targets", {"domain": f"{'n' * 60}.example.com", "visibility": "public"})["target"]["id"]
    worker = Hand(made, f"worker {hostile(100)}").enroll()
    wanted = {"targetId": target, "whenUnavailable": "queue"}
    scan = made.call("POST", "/scans", wanted | {"runnerId": worker.id})["scan"]["id"]
    worker.take()
    told = {name: hostile(10_000) for name in ("description", "evidence", "remediation")}
    where = {"url": hostile(4_000), "method": hostile(500), "parameter": hostile(500), "detectors": [hostile(500)]}
    worker.say(log(hostile(10_000), "error"), {"type": "phase", "name": hostile(100)})
    worker.say(found(hostile(300), "critical", reproduction=[hostile(10_000)], **told, **where))
    worker.end(coverage={"complete": False, "reasons": [hostile(500)]})
    made.call("POST", "/scans", wanted | {"runnerId": hand.id})
    finding = made.call("GET", "/findings")["findings"][0]["id"]
    made.call("PATCH", f"/findings/{finding}/status", {"userStatus": "in_progress", "note": hostile(1_000)})
    schedule = made.call("POST", "/schedules", {"targetId": target, "frequency": "daily", "hour": 2, "minute": 0})["schedule"]["id"]
    receiver = {"url": f"https://hooks.invalid/{'n' * 1_900}", "events": ["*"], "description": hostile(1_000)}
    webhook = made.call("POST", "/webhooks", receiver)["webhook"]["id"]
    made.call("POST", f"/webhooks/{webhook}/test")
    key = made.call("POST", "/api-keys", {"name": hostile(120), "scopes": ["runners:read"]})["apiKey"]["id"]
    token = made.call("POST", "/runners/enrollment-tokens", {"name": hostile(120), "labels": labels})["tokenPrefix"]
    link, user = invited(_owners_desk)
    return {
        "runners": hand.id,
        "targets": target,
        "scans": scan,
        "findings": finding,
        "schedules": schedule,
        "webhooks": webhook,
        "api-keys": key,
        "tokens": token,
        "users": user,
        "public": public,
        "link": link,
    }


def invited(desk: Desk) -> tuple[str, str]:
    """Somebody with a hostile name: the link with which they choose a password, and their id."""
    with desk.page("/settings/users") as page:
        page.get_by_label("E-mail address").fill(f"{'n' * 60}@{'n' * 60}.example")
        page.get_by_role("textbox", name="Name").fill(hostile(120).replace("\x1b", ""))
        page.get_by_role("button", name="Add user").click()
        link = page.locator("pre").inner_text().removeprefix(desk.installation.url)
        page.goto(f"{desk.installation.url}/settings/users")
        return link, (page.get_by_role("link", name="injected").get_attribute("href") or "").rpartition("/")[2]


@pytest.fixture(scope="module")
def viewer(_owners_desk: Desk, places: dict[str, str]) -> Desk:
    """Of the viewer who was invited, with a browser whose name is hostile."""
    desk = _owners_desk
    with desk.page(places["link"], signed_in=False, user_agent=WORDS.partition("\u202e")[0] + "n" * 400) as page:
        page.get_by_label("Password", exact=True).fill(PASSWORD)
        page.get_by_label("Password again").fill(PASSWORD)
        page.get_by_role("button", name="Set password and sign in").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Overview")
        return Desk(desk.browser, desk.installation, page.context.cookies())


def at(path: str, places: dict[str, str]) -> str:
    """The page of the thing that we have; a page about another kind of thing fails here until there is one."""
    section = path.split("/{")[0].rpartition("/")[2]
    kept = places["public"] if path == "/targets/{id}/proof" else places.get(section, "")
    filled = path.replace("{id}", kept).replace("{prefix}", kept).replace("{kind}", "html")
    assert "{" not in filled, path
    assert "//" not in filled, path
    # Whether it shows words of others besides hangs on whether its runner has been silent for long.
    return f"{filled}?finding={places['findings']}" if path == "/scans/{id}/retest" else filled


def is_harmless(page: Page) -> bool:
    return page.locator("#injected, img").count() == 0 and int(page.evaluate("document.documentElement.scrollWidth")) <= PHONE["width"]


def test_hostile_words_are_text_on_every_page_and_fit_a_phone(desk: Desk, places: dict[str, str]) -> None:
    opened: list[str] = []

    def refuse(dialog: Dialog) -> None:
        opened.append(dialog.message)
        dialog.dismiss()

    silent: set[str] = set()
    with desk.page("/", viewport=PHONE, color_scheme="dark") as page:
        page.on("dialog", refuse)
        for path in PAGES:
            page.goto(desk.installation.url + at(path, places))
            assert is_harmless(page), path
            assert not path.endswith(LOOKED_AT) or barriers(page) == [], path
            if "<b id=injected>" not in page.locator("main").inner_text():
                silent.add(path)

    assert opened == []
    assert silent == ONLY_ADDRESSES


def test_viewer_is_shown_no_form_that_changes_anything(desk: Desk, viewer: Desk, places: dict[str, str]) -> None:
    with viewer.page("/") as page:
        page.set_viewport_size(PHONE)  # type: ignore[arg-type]  # the same shape
        page.goto(f"{viewer.installation.url}/settings/me")
        expect(page.get_by_role("rowheader", name="injected")).to_be_visible()
        assert is_harmless(page)
        for path in PAGES:
            answer = page.request.get(viewer.installation.url + at(path, places))
            assert answer.status in (200, 403), path
            posted = re.findall(r'<form method="post" action="([^"]*)"', answer.text())
            assert [action for action in posted if not OWN.fullmatch(action)] == [], path
