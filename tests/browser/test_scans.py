"""Targets and scans with a real browser: from a target's readiness to a scan that moves by itself, and a log that keeps up."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from playwright.sync_api import CDPSession, Page, expect

from tests.browser.desk import Desk, barriers
from tests.browser.hand import Hand, found, log
from tests.end_to_end.installation import Installation

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
KEPT = 5_000
BATCH = 250
BATCHES_A_SECOND = 4
LOOKS = 4
# Its paragraph, time and text, each with what is in it; and the rest of the page.
NODES_A_LINE, NODES_BESIDE = 6, 4_000


@pytest.fixture(scope="module")
def hand(installation: Installation) -> Iterator[Hand]:
    """A runner that says what a test wants."""
    with Hand(installation, "by-hand").enroll().staying_alive() as hand:
        yield hand


def pour(hand: Hand, seconds: int) -> None:
    """1,000 lines a second."""
    pause = threading.Event()
    for _ in range(seconds * BATCHES_A_SECOND):
        hand.say(*(log(f"line {hand.seq + number}") for number in range(1, BATCH + 1)))
        pause.wait(1 / BATCHES_A_SECOND)


def weighed(page: Page, devtools: CDPSession) -> dict[str, float]:
    """What the page holds, without what is merely not yet collected: the least of a few looks."""
    looks: list[dict[str, float]] = []
    for _ in range(LOOKS):
        page.wait_for_timeout(200)
        devtools.send("HeapProfiler.collectGarbage")
        looks.append({one["name"]: one["value"] for one in devtools.send("Performance.getMetrics")["metrics"]})
    return {name: min(look[name] for look in looks) for name in ("Nodes", "JSHeapUsedSize")}


def lines_in(page: Page) -> int:
    return int(page.evaluate("document.querySelectorAll('#log p').length"))


def test_scan_is_started_watched_and_cancelled_without_a_reload(desk: Desk, hand: Hand) -> None:
    target = desk.installation.add_target("http://localhost:3001/")
    with desk.page(f"/targets/{target}") as page:
        expect(page.locator("#verdict")).to_contain_text("A scan can start now.")
        page.get_by_label("Runner").select_option(hand.id)
        expect(page).to_have_url(f"{desk.installation.url}/targets/{target}?runner={hand.id}")
        page.get_by_label("Preset").select_option("free")
        page.get_by_role("button", name="Start scan").click()
        expect(page.locator("#status")).to_contain_text("queued")
        page.evaluate("window.neverReloaded = true")
        hand.take()
        expect(page.locator("#status")).to_contain_text("running")
        hand.say({"type": "phase", "name": "attack"}, found("A mild flaw", "low"), log("<b>bold</b>", "warning"))
        hand.say(found("A grave flaw", "critical"), {"type": "progress", "percent": 40, "requests": 80})
        expect(page.locator("#figures")).to_contain_text("80 of 200")
        expect(page.locator(".found li").first).to_contain_text("A grave flaw")
        expect(page.locator(".found li").last).to_contain_text("A mild flaw")
        expect(page.locator("#log")).to_contain_text("warning <b>bold</b>")
        hand.end("failed", "disk_full", errorMessage="12 bytes are left")
        expect(page.locator("#status")).to_contain_text("queued")
        hand.take()
        hand.say(log("again from the beginning"), {"type": "progress", "percent": 1, "requests": 2})
        expect(page.locator("#log")).to_contain_text("again from the beginning")
        expect(page.locator("#log")).not_to_contain_text("bold")
        expect(page.get_by_role("navigation", name="Attempts")).to_contain_text("Attempt 2")
        assert page.evaluate("window.neverReloaded")
        page.get_by_role("link", name="Cancel scan").click()
        expect(page.get_by_role("dialog")).to_contain_text("2 requests have reached the target")
        page.get_by_role("dialog").get_by_role("button", name="Cancel scan").click()
        expect(page.get_by_role("status")).to_contain_text("told to stop")
        page.get_by_role("link", name="Attempt 1").click()
        expect(page.locator("#attempt")).to_contain_text("12 bytes are left")
        expect(page.locator("#log")).to_contain_text("warning <b>bold</b>")
        assert barriers(page) == []
        hand.end("cancelled", "canceled_by_user", coverage={"complete": False, "reasons": []})
        expect(page.locator("#outcome")).to_contain_text("What it did not look at may hold anything.")
        with page.expect_popup() as opened:
            page.get_by_role("link", name="Open report").click()
        expect(opened.value.get_by_role("heading", level=1)).to_contain_text("Security test of localhost:3001")


def test_log_keeps_up_with_a_thousand_lines_a_second_and_stays_as_large_as_it_is(desk: Desk, hand: Hand) -> None:
    scan = desk.installation.start_scan(desk.installation.add_target("http://localhost:3002/"), runnerId=hand.id)
    hand.take()
    for _ in range(5):
        hand.say(*(log(f"line {hand.seq + number}") for number in range(1, 1_001)))
    with desk.page(f"/scans/{scan}") as page:
        devtools = page.context.new_cdp_session(page)
        devtools.send("Performance.enable")
        box = page.locator("#log")
        expect(box).to_contain_text("line 5000")
        pour(hand, seconds=3)
        expect(box).to_contain_text(f"line {hand.seq}")
        held, shown = weighed(page, devtools), lines_in(page)
        at_its_end = page.evaluate("(box => box.scrollHeight - box.scrollTop - box.clientHeight)(document.getElementById('log'))")
        page.get_by_role("button", name="Earlier lines").click()
        expect(page.get_by_label("Follow")).not_to_be_checked()
        expect(box).to_contain_text("line 2751")
        page.get_by_label("Search these lines").fill("line 3999")
        expect(page.locator("#log-told")).to_contain_text("1 match")
        page.get_by_label("Search these lines").fill("")
        kept = lines_in(page)
    hand.end()

    assert hand.seq == 8_000
    assert KEPT - BATCH <= shown <= KEPT
    assert KEPT - BATCH <= kept <= KEPT
    assert at_its_end < 2
    # 8,000 lines, if nothing were let go, would be 48,000.
    assert held["Nodes"] < NODES_A_LINE * KEPT + NODES_BESIDE
    assert held["JSHeapUsedSize"] < 5_000_000
