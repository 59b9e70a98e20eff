"""What all pages share: they move by themselves, work without script, fit a phone, and keep nobody out."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.browser.desk import Desk, barriers

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
PAGES = ("/", "/runners", "/runners/add", "/targets", "/targets/add", "/scans", "/findings", "/schedules", "/schedules/add")
PHONE = {"width": 390, "height": 844}


@pytest.mark.parametrize("path", PAGES)
def test_page_keeps_nobody_out_in_light_and_dark(desk: Desk, path: str) -> None:
    for scheme in ("light", "dark"):
        with desk.page(path, color_scheme=scheme) as page:
            assert barriers(page) == [], scheme


@pytest.mark.parametrize("path", PAGES)
def test_page_fits_a_phone(desk: Desk, path: str) -> None:
    with desk.page(path, viewport=PHONE) as page:
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
        expect(page.get_by_role("navigation", name="Sections")).to_be_visible()


@pytest.mark.parametrize("path", PAGES)
def test_page_is_small(desk: Desk, path: str) -> None:
    """60 kB with all that it loads."""
    sizes: list[int] = []
    with desk.page("/sign-in") as page:
        page.on("response", lambda answer: sizes.append(len(answer.body())))
        page.goto(f"{desk.installation.url}{path}", wait_until="load")
        page.wait_for_timeout(200)

    assert 0 < sum(sizes) <= 60_000


def test_runner_that_arrives_and_pauses_is_on_the_page_by_itself(desk: Desk) -> None:
    with desk.page("/runners") as page:
        workspace = desk.installation.enroll("arriving")
        runner = desk.installation.start_runner("arriving", workspace)
        row = page.get_by_role("row").filter(has_text="arriving")
        expect(row).to_contain_text("online")
        found = next(one for one in desk.installation.call("GET", "/runners")["runners"] if one["name"] == "arriving")
        desk.installation.call("POST", f"/runners/{found['id']}/pause")
        expect(row).to_contain_text("paused")
        row.get_by_role("link", name="arriving").click()
        page.get_by_role("link", name="Resume runner").click()
        expect(page.get_by_role("dialog")).to_contain_text("takes scans again at once")
        page.get_by_role("dialog").get_by_role("button", name="Resume runner").click()
        expect(page.get_by_role("status")).to_contain_text("takes scans again")
    runner.stop()


def test_sign_in_and_out_without_script(desk: Desk) -> None:
    with desk.page("/runners", signed_in=False, java_script_enabled=False) as page:
        page.get_by_label("E-mail address").fill("ada@acme.example")
        page.get_by_label("Password").fill("correct horse battery staple")
        page.get_by_role("button", name="Sign in").click()
        expect(page).to_have_url(f"{desk.installation.url}/runners")
        page.get_by_role("button", name="Sign out").click()
        expect(page).to_have_url(f"{desk.installation.url}/sign-in")
