"""Runners at a real desk: one is added by what the page says, and its page and the list follow it without a reload."""

from __future__ import annotations

import re
import shlex

import httpx2
import pytest
from playwright.sync_api import expect

from tests.browser.desk import Desk, barriers
from tests.browser.hand import Hand

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.mark.submits("/runners/add", "/runners/{id}/revoke")
def test_runner_is_added_by_the_commands_of_the_page_and_arrives_on_it(desk: Desk) -> None:
    workspace = desk.installation.folder / "added"
    with desk.page("/runners/add", permissions=["clipboard-read", "clipboard-write"]) as page:
        page.get_by_role("textbox", name="Name").fill("added")
        page.get_by_role("button", name="Make token").click()
        waiting = page.locator("#arrival")
        expect(waiting).to_contain_text("waiting")
        expect(page).to_have_url(re.compile("/runners/tokens/"))
        page.evaluate("window.stayed = true")
        page.get_by_role("button", name="Copy token").click()
        expect(page.get_by_role("button", name="Copied")).to_be_visible()
        token = page.evaluate("navigator.clipboard.readText()")
        assert barriers(page) == []
        assert not page.get_by_text(token).is_visible()
        page.get_by_text("Show", exact=True).click()
        expect(page.get_by_text(token)).to_be_visible()
        with page.expect_event("dialog") as asked:
            page.evaluate("setTimeout(() => { location.href = '/runners'; })")
        asked.value.dismiss()

        [command] = [text for text in page.locator("pre").all_inner_texts() if text.startswith("apviso register")]
        desk.installation.run(*shlex.split(command)[1:], workspace=workspace, stdin=f"{token}\n")
        expect(waiting).to_contain_text("does not run yet")
        expect(page.get_by_text(token)).to_have_count(0)
        runner = desk.installation.start_runner("added", workspace)
        expect(waiting).to_contain_text("came online")
        expect(waiting).to_contain_text("runner online")

        assert page.evaluate("window.stayed")
        waiting.get_by_role("link", name="added").click()
        expect(page.locator("#health")).to_contain_text("Disk")
        assert barriers(page) == []
        page.get_by_role("link", name="Revoke runner").click()
        page.get_by_role("dialog").get_by_label("Name of the runner").fill("added")
        page.get_by_role("dialog").get_by_role("button", name="Revoke runner").click()
        expect(page.get_by_role("status")).to_contain_text("added is revoked")
    runner.wait()


@pytest.mark.submits("/runners/{id}/edit", "/runners/{id}/pause", "/runners/{id}/drain", "/runners/{id}/rotate")
def test_each_action_says_what_will_happen_and_does_it(desk: Desk) -> None:
    hand = Hand(desk.installation, "acted-on").enroll()
    with hand.staying_alive(), desk.page(f"/runners/{hand.id}", color_scheme="dark") as page:
        dialog, said = page.get_by_role("dialog"), page.get_by_role("status")
        page.get_by_role("link", name="Edit windows").click()
        dialog.get_by_label("Labels").fill("cellar")
        window = dialog.get_by_role("group", name="Window 1")
        for day in ("Mon", "Tue"):
            window.get_by_label(day).check()
        window.get_by_label("From").fill("02:00")
        window.get_by_label("to", exact=True).fill("04:30")
        window.get_by_label("Time zone").fill("Europe/Berlin")
        dialog.get_by_role("button", name="Save runner").click()
        expect(said).to_have_text("acted-on has its new settings.")
        expect(page.locator("#windows")).to_contain_text("Mon, Tue 02:00 to 04:30 Europe/Berlin")
        page.get_by_role("link", name="Pause runner").click()
        expect(dialog).to_contain_text("Nothing runs on it. It takes no new scans until it is resumed")
        dialog.get_by_label("For how long").select_option("4")
        dialog.get_by_label("Note").fill("new disk")
        dialog.get_by_role("button", name="Pause runner").click()
        expect(page.locator("#admin")).to_contain_text("new disk")
        page.get_by_role("link", name="Drain runner").click()
        expect(dialog).to_contain_text("Nothing runs on it. New ones go elsewhere: ")
        dialog.get_by_label("Deadline in minutes").fill("30")
        dialog.get_by_role("button", name="Drain runner").click()
        expect(page.locator("#admin")).to_contain_text("it gives back what it has not finished")
        page.get_by_role("link", name="Rotate token").click()
        expect(dialog).to_contain_text("at most for a day")
        dialog.get_by_role("button", name="Rotate token").click()
        expect(said).to_have_text("acted-on fetches a new token with its next heartbeat.")
        assert barriers(page) == []
    desk.installation.call("DELETE", f"/runners/{hand.id}")


@pytest.mark.submits("/runners/tokens/{prefix}/revoke")
def test_token_that_is_revoked_or_used_says_so_on_the_page_that_waits(desk: Desk) -> None:
    tokens = [desk.installation.call("POST", "/runners/enrollment-tokens", {"name": name}) for name in ("revoked", "used")]
    revoked, used = (token["tokenPrefix"] for token in tokens)
    with desk.page(f"/runners/tokens/{revoked}") as page, desk.page(f"/runners/tokens/{used}") as other:
        expect(page.locator("#countdown")).to_have_text("It can be used once and runs out in 29 min.")
        page.get_by_role("link", name="Revoke token").click()
        expect(page.get_by_role("dialog")).to_contain_text("Nobody can enroll with it any more")
        page.get_by_role("dialog").get_by_role("button", name="Revoke token").click()
        expect(page.get_by_role("status")).to_contain_text("is revoked: nobody can enroll with it.")
        page.goto(f"{desk.installation.url}/runners/tokens/{revoked}")
        expect(page.locator("#arrival")).to_contain_text("before anybody used it")
        told = {"enrollmentToken": tokens[1]["token"], "version": "0.1.0"}
        httpx2.post(f"{desk.installation.url}/api/runner/register", json=told, trust_env=False).raise_for_status()
        expect(other.locator("#countdown")).to_have_text("It is used.")
        expect(other.locator("#arrival")).to_contain_text("does not run yet. Start it on its host")


def test_rows_that_would_push_a_list_down_wait_until_they_are_asked_for(desk: Desk) -> None:
    Hand(desk.installation, "read-first").enroll()
    with desk.page("/runners?name=read-") as page:
        rows = page.locator("#runners tr")
        expect(rows).to_have_count(1)
        Hand(desk.installation, "read-second").enroll()
        show = page.get_by_role("button", name="Show 1 new runner")
        expect(show).to_be_visible()
        expect(rows).to_have_count(1)
        assert barriers(page) == []
        Hand(desk.installation, "read-third").enroll()
        page.get_by_role("button", name="Show 2 new runners").click()
        expect(rows).to_have_count(3)
        expect(page.get_by_role("button", name="Show 2 new runners")).to_have_count(0)
        # What is typed is asked for.
        page.get_by_role("textbox", name="Name").fill("read-s")
        expect(rows).to_have_count(1)
        page.get_by_role("textbox", name="Name").fill("read-")
        expect(rows).to_have_count(3)


def test_list_follows_what_is_typed_and_what_happens(desk: Desk) -> None:
    for name in ("typed-north", "typed-south"):
        token = desk.installation.call("POST", "/runners/enrollment-tokens", {"name": name})["token"]
        told = {"enrollmentToken": token, "version": "0.1.0"}
        httpx2.post(f"{desk.installation.url}/api/runner/register", json=told, trust_env=False).raise_for_status()
    with desk.page("/runners?name=typed") as page:
        north, south = (page.get_by_role("row").filter(has_text=name) for name in ("typed-north", "typed-south"))
        expect(south).to_be_visible()
        page.get_by_role("textbox", name="Name").fill("typed-no")
        expect(south).to_have_count(0)
        assert page.url.endswith("?name=typed-no")
        found = next(one for one in desk.installation.call("GET", "/runners")["runners"] if one["name"] == "typed-north")
        desk.installation.call("POST", f"/runners/{found['id']}/drain")
        expect(north).to_contain_text("draining")
        menu = north.get_by_label("Actions for typed-north")
        menu.click()
        expect(north.get_by_role("link", name="Resume")).to_be_visible()
        page.keyboard.press("Escape")
        expect(north.get_by_role("link", name="Resume")).to_be_hidden()
        menu.click()
        north.get_by_role("link", name="Resume").click()
        expect(page.get_by_role("dialog")).to_contain_text("It takes scans again at once")
