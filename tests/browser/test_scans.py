"""Targets and scans with a real browser: from a target's readiness to a scan that moves by itself, and a log that keeps up."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from playwright.sync_api import CDPSession, Page, expect

from tests.browser.desk import Desk, barriers
from tests.browser.hand import Hand, found, log
from tests.end_to_end.installation import Installation
from tests.support.names import NameServer

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


@pytest.mark.submits("/targets/{id}/scan", "/scans/{id}/cancel")
def test_scan_is_started_watched_and_cancelled_without_a_reload(desk: Desk, hand: Hand) -> None:
    target = desk.installation.add_target("http://localhost:3001/")
    with desk.page(f"/targets/{target}", color_scheme="dark") as page:
        expect(page.locator("#verdict")).to_contain_text("A scan can start now.")
        page.get_by_label("Runner").select_option(hand.id)
        expect(page).to_have_url(f"{desk.installation.url}/targets/{target}?runner={hand.id}")
        page.get_by_label("Preset").select_option("free")
        page.get_by_role("button", name="Start scan").dblclick()
        expect(page.locator("#status")).to_contain_text("queued")
        assert desk.installation.call("GET", f"/scans?targetId={target}")["total"] == 1
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


@pytest.mark.submits("/targets/add", "/targets/{id}/proof", "/targets/{id}/edit", "/targets/{id}/delete")
def test_target_is_added_proved_edited_and_deleted(desk: Desk, names: NameServer) -> None:
    with desk.page("/targets/add", color_scheme="dark") as page:
        page.get_by_label("Domain").fill("shop.example.com")
        page.get_by_role("button", name="Add target").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Prove control of shop.example.com")
        name, value = page.get_by_role("region", name="DNS record").locator("pre").all_inner_texts()
        names.publish(name, "TXT", f'"{value}"')
        page.get_by_role("button", name="Look for the record").click()
        expect(page.get_by_role("status")).to_have_text("Control of shop.example.com is proved. It can be scanned.")
        page.get_by_role("link", name="Edit target").click()
        window = page.get_by_role("group", name="Window 1")
        window.get_by_label("Sun").check()
        window.get_by_label("From").fill("22:00")
        window.get_by_label("to", exact=True).fill("23:00")
        page.get_by_role("button", name="Save target").click()
        expect(page.locator("#facts")).to_contain_text("Sun 22:00 to 23:00 UTC")
        assert barriers(page) == []
        page.get_by_role("link", name="Delete target").click()
        expect(page.get_by_role("dialog")).to_contain_text("its proof of control go for good")
        page.get_by_role("dialog").get_by_role("button", name="Delete target").click()
        expect(page.get_by_role("status")).to_have_text("shop.example.com was deleted.")


@pytest.mark.submits("/scans/{id}/retest")
def test_waiting_scan_says_why_with_its_fix_and_what_was_found_is_tested_again(desk: Desk, hand: Hand) -> None:
    scan = desk.installation.start_scan(desk.installation.add_target("http://localhost:3003/"), runnerId=hand.id, whenUnavailable="queue")
    desk.installation.call("POST", f"/runners/{hand.id}/pause")
    with desk.page(f"/scans/{scan}") as page:
        expect(page.locator("#waiting")).to_contain_text("by-hand is paused")
        page.locator("#check-runner_accepting").get_by_role("link", name="Resume runner").click()
        expect(page.get_by_role("dialog")).to_contain_text("It takes scans again at once; 1 waits now.")
        page.get_by_role("dialog").get_by_role("button", name="Resume runner").click()
        hand.take()
        hand.say(found("To be tested again", "high"), found("Left out", "low"))
        hand.end()
        page.goto(f"{desk.installation.url}/scans/{scan}")
        page.get_by_label("Choose To be tested again").check()
        page.get_by_role("button", name="Retest chosen findings").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Retest 1 of 2 findings")
        page.get_by_label("Put it into the queue").check()
        page.get_by_role("button", name="Start retest").click()
        expect(page.locator("#retested")).to_contain_text("To be tested again")
        expect(page.locator("#retested")).not_to_contain_text("Left out")
        page.get_by_role("link", name="Cancel scan").click()
        page.get_by_role("dialog").get_by_role("button", name="Cancel scan").click()
        expect(page.locator("#status")).to_contain_text("cancelled")


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
