"""Findings, overview and schedules in a browser: keys, changes that arrive by themselves, and all of it without script."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from tests.browser.desk import Desk, barriers
from tests.browser.spoken import SpokenRunner, flaw

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
PHONE = {"width": 390, "height": 844}


@pytest.fixture
def runner(desk: Desk) -> Iterator[SpokenRunner]:
    made = SpokenRunner(desk.installation, "spoken")
    yield made
    made.revoke()


@pytest.mark.submits("/findings/{id}/status")
def test_findings_are_moved_through_and_triaged_by_keys(desk: Desk, runner: SpokenRunner) -> None:
    target = runner.scan("keys.internal", flaw("First flaw", "critical"), flaw("Second flaw"), flaw("Third flaw", "low"))
    to_do = f"/findings?target={target}&status=open&status=in_progress"

    with desk.page(to_do) as page:
        page.keyboard.press("j")
        expect(page.get_by_role("link", name="First flaw")).to_be_focused()
        page.keyboard.press("3")
        expect(page.get_by_role("link", name="First flaw")).to_have_count(0)
        expect(page.get_by_role("link", name="Second flaw")).to_be_focused()
        page.keyboard.press("x")
        expect(page.get_by_label("Tick Second flaw")).to_be_checked()
        page.keyboard.press("?")
        expect(page.get_by_role("dialog", name="Keys")).to_contain_text("next, previous finding")
        page.keyboard.press("Escape")
        page.get_by_role("link", name="Second flaw").press("Enter")
        expect(page.get_by_role("heading", level=1)).to_have_text("Second flaw")
        page.keyboard.press("2")
        expect(page.locator("#head")).to_contain_text("in progress")
        page.get_by_label("Note").fill("j is typed here, and moves nothing: 5")
        page.get_by_label("accepted risk").check()
        page.get_by_label("Accepted until").fill("2099-01-01")
        page.get_by_role("button", name="Set status").click()
        expect(page.locator("main")).to_contain_text("until 2099-01-01 00:00:00 UTC")
        assert barriers(page) == []
        page.keyboard.press("j")
        expect(page.get_by_role("heading", level=1)).to_have_text("Third flaw")


@pytest.mark.submits("/findings/status")
def test_ticked_findings_are_triaged_without_script_on_a_phone(desk: Desk, runner: SpokenRunner) -> None:
    target = runner.scan("plain.internal", flaw("<b>Long</b> " + "flaw" * 70), flaw("Short flaw"))

    with desk.page(f"/findings?target={target}", java_script_enabled=False, viewport=PHONE) as page:
        page.get_by_label("Tick Short flaw").check()
        page.get_by_text("Set the status of all that are ticked").click()
        page.locator("#triage").get_by_label("false positive").check()
        page.get_by_role("button", name="Set status").click()
        expect(page.get_by_role("status").first).to_have_text("1 finding is a false positive now.")
    with desk.page(f"/findings?target={target}&status=open", viewport=PHONE) as page:
        expect(page.locator("#findings tr")).to_have_count(1)
        page.get_by_role("link", name="Long").click()
        expect(page.get_by_role("heading", level=1)).to_contain_text("<b>Long</b>")
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]


def test_new_critical_finding_is_on_the_overview_by_itself(desk: Desk, runner: SpokenRunner) -> None:
    with desk.page("/") as page:
        runner.scan("sudden.internal", flaw("Sudden flaw", "critical"))

        row = page.locator("#attention li").filter(has_text="Sudden flaw")
        expect(row).to_contain_text("critical")
        expect(page.get_by_role("img", name="New findings")).to_be_visible()
        page.get_by_text("As a table").last.click()
        expect(page.get_by_role("columnheader", name="Critical")).to_be_visible()
        assert barriers(page) == []
        row.get_by_role("link", name="Open finding").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Sudden flaw")


@pytest.mark.submits("/schedules/add", "/schedules/{id}/edit", "/schedules/{id}/disable", "/schedules/{id}/enable")
@pytest.mark.submits("/schedules/{id}/delete")
def test_schedule_is_added_switched_edited_and_deleted(desk: Desk, runner: SpokenRunner) -> None:
    target = runner.scan("timed.internal")

    with desk.page(f"/schedules/add?target={target}") as page:
        expect(page.get_by_label("Cron expression")).to_be_hidden()
        page.get_by_label("How often").select_option("cron")
        expect(page.get_by_label("Day of the week")).to_be_hidden()
        page.get_by_label("Cron expression").fill("0 3 * * SUN")
        page.get_by_label("Time zone").fill("Europe/Berlin")
        page.get_by_role("button", name="Add schedule").click()
        expect(page.locator("#next li")).to_have_count(5)
        expect(page.locator("#next li").first).to_contain_text("Sun ")
        assert barriers(page) == []
        page.get_by_role("button", name="Disable schedule").click()
        expect(page.locator("#state")).to_contain_text("disabled")
        page.get_by_role("button", name="Enable schedule").click()
        expect(page.locator("#state")).to_contain_text("enabled")
        page.get_by_role("link", name="Edit schedule").click()
        page.get_by_label("How often").select_option("monthly")
        page.get_by_label("Day of the month").fill("28")
        page.get_by_role("button", name="Save schedule").click()
        expect(page.locator("#state")).to_contain_text("on day 28 of each month")
        page.get_by_role("link", name="Delete schedule").click()
        page.get_by_role("dialog").get_by_role("button", name="Delete schedule").click()
        expect(page.get_by_role("status").first).to_contain_text("The schedule is deleted")
        expect(page.get_by_role("link", name="timed.internal")).to_have_count(0)
