"""What all pages share: they move by themselves, work without script, fit a phone, and keep nobody out."""

from __future__ import annotations

import pytest
from playwright.sync_api import Request, expect

from tests.browser.desk import PASSWORD, Desk, barriers

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
PAGES = (
    "/",
    "/runners",
    "/runners/add",
    "/targets",
    "/targets/add",
    "/scans",
    "/findings",
    "/schedules",
    "/schedules/add",
    "/webhooks",
    "/webhooks/add",
    "/audit",
    "/settings",
    "/settings/users",
    "/settings/api-keys",
    "/settings/me",
)
# The rules of axe-core that look at colors.
OF_COLORS = ("color-contrast", "link-in-text-block")
PHONE = {"width": 390, "height": 844}
MOST_BYTES = 60_000
REFRESHED = """() => new Promise((done) => {
  document.addEventListener("refreshed", done, { once: true });
  document.dispatchEvent(new Event("visibilitychange"));
})"""


@pytest.mark.parametrize("path", PAGES)
def test_page_keeps_nobody_out_fits_a_phone_and_is_small(desk: Desk, path: str) -> None:
    loaded: list[Request] = []

    def note(request: Request) -> None:
        loaded.append(request)

    with desk.page("/sign-in", signed_in=False) as page:
        page.context.add_cookies(desk.cookies)
        page.on("requestfinished", note)
        page.goto(f"{desk.installation.url}{path}", wait_until="load")
        # What went over the wire, with its heads.
        sizes = [request.sizes() for request in loaded]
        weight = sum(one["responseBodySize"] + one["responseHeadersSize"] for one in sizes)
        page.emulate_media(color_scheme="light")
        assert barriers(page) == []
        # In other colors the page is the same but for them.
        page.emulate_media(color_scheme="dark")
        assert barriers(page, *OF_COLORS) == []
        page.set_viewport_size(PHONE)  # type: ignore[arg-type]  # the same shape
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
        expect(page.get_by_role("navigation", name="Sections")).to_be_visible()

    assert len(sizes) >= 3
    assert 0 < weight <= MOST_BYTES


@pytest.mark.submits("/sign-in", "/settings/me/sessions/{id}/end")
def test_open_page_goes_to_the_door_when_its_session_ends(desk: Desk) -> None:
    with desk.page("/runners", signed_in=False) as page:
        page.get_by_label("E-mail address").fill("ada@acme.example")
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("heading", name="Runners")).to_be_visible()
        with desk.page("/settings/me") as mine:
            mine.get_by_role("button", name="End").first.click()
            expect(mine.get_by_role("status")).to_contain_text("The session has ended.")
        expect(page).to_have_url(f"{desk.installation.url}/sign-in?next=%2Frunners")


@pytest.mark.submits("/runners/{id}/resume")
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
        # It stays said when the page is fetched again.
        page.evaluate(REFRESHED)
        expect(page.get_by_role("status")).to_contain_text("takes scans again")
    runner.stop()


@pytest.mark.submits("/sign-in", "/sign-out")
def test_sign_in_and_out_without_script(desk: Desk) -> None:
    with desk.page("/runners", signed_in=False, java_script_enabled=False) as page:
        page.get_by_label("E-mail address").fill("ada@acme.example")
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Sign in").click()
        expect(page).to_have_url(f"{desk.installation.url}/runners")
        page.get_by_role("button", name="Sign out").click()
        expect(page).to_have_url(f"{desk.installation.url}/sign-in")
