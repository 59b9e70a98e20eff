"""Runners at a real desk: one is added by what the page says, and its page and the list follow it without a reload."""

from __future__ import annotations

import shlex

import httpx2
import pytest
from playwright.sync_api import expect

from tests.browser.desk import Desk, barriers

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def test_runner_is_added_by_the_commands_of_the_page_and_arrives_on_it(desk: Desk) -> None:
    workspace = desk.installation.folder / "added"
    with desk.page("/runners/add", permissions=["clipboard-read", "clipboard-write"]) as page:
        page.get_by_role("textbox", name="Name").fill("added")
        page.get_by_role("button", name="Make token").click()
        waiting = page.locator("#arrival")
        expect(waiting).to_contain_text("waiting")
        assert "/runners/tokens/" in page.url
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
        north.get_by_label("Actions for typed-north").click()
        north.get_by_role("link", name="Resume").click()
        expect(page.get_by_role("dialog")).to_contain_text("It takes scans again at once")
