"""`python -m benchmarks.dashboard`: pages of an organization with 2,000 runners, 500 findings and a queue, and one that stays open.

All the while its runners send their heartbeats. Says the server's time for each first page and how long a heartbeat waited meanwhile, how
old a change is when the open page shows it, and how the memory of that page grows while a runner changes each second. `--runners` is how
many there are, `--minutes` how long it stays open (10)."""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections import Counter

import httpx2
from playwright.sync_api import Page

from benchmarks.beside import Beating, beating
from benchmarks.plant import PATIENT, Plant, plant
from tests.browser.desk import Desk, chromium
from tests.browser.hand import Hand, found

RUNNERS, FINDINGS, QUEUED, BATCH = 2_000, 500, 20, 100
PAGES = (
    *("/", "/runners", "/runners?status=offline", "/runners/{runner}", "/runners/add", "/targets", "/targets/{target}", "/scans"),
    *("/findings", "/schedules", "/schedules/add", "/webhooks", "/audit", "/settings", "/sign-in"),
)
ROUNDS, CHANGES = 9, 20
# The server's limits for one session and one key would end the measurement.
SETTINGS = PATIENT | {"APVISO_PAGES_PER_MINUTE": "1000000"}
LOOK_EVERY_SECONDS = 30
BEFORE_SECONDS, PAUSE_SECONDS = 5.0, 0.3
MIB = 1024**2


def main(runners: int, minutes: float) -> None:
    print(f"{runners} runners, {FINDINGS} findings, {QUEUED} scans that wait, SQLite; load {os.getloadavg()[0]:.1f}")
    with plant(runners, SETTINGS, have_spoken=True) as ready, chromium() as browser:
        ready.serve()
        target = _find(ready)
        desk = Desk(browser, ready)
        desk.sign_up()
        # The last ones: the first is changed by hand.
        with beating(ready.port, ready.runners[1:]) as beats:
            time.sleep(BEFORE_SECONDS)
            _first_pages(ready, beats, {one["name"]: one["value"] for one in desk.cookies}, target)
            _look_and_change(ready, desk, minutes)
            print(f"{len(beats.waits)} heartbeats, {beats.failed} failed")
        print("\n".join(desk.complaints) or "no page complained")


def _look_and_change(ready: Plant, desk: Desk, minutes: float) -> None:
    if minutes:
        with desk.page("/runners") as page:
            _changes(ready, page)
            _stays_open(ready, page, minutes)


def _find(ready: Plant) -> str:
    """One scan that finds them all, and others that nobody takes. The target of the one."""
    target = ready.add_target("http://localhost:3000/")
    hand = Hand(ready, "finder").enroll()
    ready.start_scan(target, whenUnavailable="queue", runnerId=hand.id)
    hand.take()
    severities = ("critical", "high", "medium", "low", "info")
    for first in range(0, FINDINGS, BATCH):
        numbers = range(first, first + BATCH)
        hand.say(*(found(f"Flaw {number}", severities[number % 5], parameter=f"p{number}", evidence="e" * 500) for number in numbers))
    hand.end()
    for number in range(QUEUED):
        ready.start_scan(ready.add_target(f"http://localhost:{4000 + number}/"), whenUnavailable="queue")
    return target


def _first_pages(ready: Plant, beats: Beating, cookies: dict[str, str], target: str) -> None:
    header = "; ".join(f"{name}={value}" for name, value in cookies.items())
    print(f"heartbeats alone: one waited {_idle(beats)}")
    with httpx2.Client(base_url=ready.url, trust_env=False, timeout=60) as client:
        for page in PAGES:
            path = page.format(runner=ready.runners[0].id, target=target)
            taken, waits, size = list[float](), list[float](), 0
            for _ in range(ROUNDS):
                began = time.monotonic()
                answer = client.get(path, headers={} if page == "/sign-in" else {"cookie": header})
                until = time.monotonic()
                assert answer.status_code == 200, f"{path}: {answer.status_code}"
                size = len(answer.content)
                taken.append((until - began) * 1000)
                # Those that it kept waiting have been answered by then.
                time.sleep(PAUSE_SECONDS)
                waits.append(beats.longest(began, until) * 1000)
            rest = f"{statistics.median(taken[1:]):6.1f} ms (at most {max(taken[1:]):.1f})"
            waited = f"heartbeats waited {statistics.median(waits):.1f} ms (at most {max(waits):.1f})"
            print(f"{page:24} first {taken[0]:6.1f} ms, then {rest}, {size / 1024:4.0f} KiB; {waited}", flush=True)


def _idle(beats: Beating) -> str:
    """As long as a page takes, without one."""
    waits = []
    for _ in range(ROUNDS):
        began = time.monotonic()
        time.sleep(PAUSE_SECONDS)
        waits.append(beats.longest(began, began + PAUSE_SECONDS) * 1000)
    return f"{statistics.median(waits):.1f} ms (at most {max(waits):.1f})"


def _changes(ready: Plant, page: Page) -> None:
    """How long after the answer to the change the open page shows it."""
    row = page.locator("tr[id^=runner-]").first
    runner_id = str(row.get_attribute("id")).removeprefix("runner-")
    ages = []
    for number in range(CHANGES):
        wanted = "pause" if number % 2 == 0 else "resume"
        ready.call("POST", f"/runners/{runner_id}/{wanted}")
        began = time.perf_counter()
        told = "el => el.textContent.includes('paused')" if wanted == "pause" else "el => !el.textContent.includes('paused')"
        page.wait_for_function(f"id => ({told})(document.getElementById(id))", arg=f"runner-{runner_id}", polling=20, timeout=20_000)
        ages.append(time.perf_counter() - began)
        time.sleep(1)
    print(f"a change is on the open page after {statistics.median(ages) * 1000:.0f} ms, at most {max(ages) * 1000:.0f} ms")


def _stays_open(ready: Plant, page: Page, minutes: float) -> None:
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable")
    runner_id = ready.runners[0].id
    fetched = Counter[str]()
    page.on("request", lambda request: fetched.update([request.resource_type]))
    began, looked, sizes = time.monotonic(), 0.0, list[float]()
    turn = 0
    while (now := time.monotonic() - began) < minutes * 60:
        turn += 1
        ready.call("POST", f"/runners/{runner_id}/{'pause' if turn % 2 else 'resume'}")
        if now - looked >= LOOK_EVERY_SECONDS:
            looked = now
            session.send("HeapProfiler.collectGarbage")
            told = {one["name"]: one["value"] for one in session.send("Performance.getMetrics")["metrics"]}
            sizes.append(told["JSHeapUsedSize"] / MIB)
            print(
                f"after {now:4.0f} s: {sizes[-1]:.2f} MiB of script, {told['Nodes']:.0f} nodes, {told['JSEventListeners']:.0f} listeners, "
                f"fetched {fetched['fetch']} times",
                flush=True,
            )
        page.wait_for_timeout(1000)
    if sizes:
        print(f"memory of the page: {sizes[0]:.2f} MiB at first, {sizes[-1]:.2f} MiB at the end, {max(sizes):.2f} MiB at most")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runners", type=int, default=RUNNERS)
    parser.add_argument("--minutes", type=float, default=10)
    asked = parser.parse_args()
    main(asked.runners, asked.minutes)
