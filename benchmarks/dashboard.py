"""`python -m benchmarks.dashboard`: pages of an organization with 2,000 runners and 500 findings, and one that stays open.

Says the server's time for each first page, how old a change is when the open page shows it, and how the memory of that page grows while
a runner changes each second. `--minutes` is how long it stays open (10)."""

from __future__ import annotations

import argparse
import os
import statistics
import time

import httpx2
from playwright.sync_api import Page

from benchmarks.plant import PATIENT, Plant, plant
from tests.browser.desk import Desk, chromium
from tests.browser.hand import Hand, found

RUNNERS, FINDINGS, BATCH = 2_000, 500, 100
PAGES = ("/", "/runners", "/runners/add", "/targets", "/scans", "/findings", "/schedules", "/webhooks", "/audit", "/settings")
ROUNDS, CHANGES = 9, 20
# The server's limits for one session and one key would end the measurement.
SETTINGS = PATIENT | {"APVISO_PAGES_PER_MINUTE": "1000000"}
LOOK_EVERY_SECONDS = 30
MIB = 1024**2


def main(minutes: float) -> None:
    print(f"{RUNNERS} runners, {FINDINGS} findings, SQLite; load {os.getloadavg()[0]:.1f}")
    with plant(RUNNERS, SETTINGS, have_spoken=True) as ready, chromium() as browser:
        ready.serve()
        _find(ready)
        desk = Desk(browser, ready)
        desk.sign_up()
        _first_pages(ready, {one["name"]: one["value"] for one in desk.cookies})
        with desk.page("/runners") as page:
            _changes(ready, page)
            _stays_open(ready, page, minutes)
        print("\n".join(desk.complaints) or "no page complained")


def _find(ready: Plant) -> None:
    """One scan that finds them all."""
    target = ready.add_target("http://localhost:3000/")
    hand = Hand(ready, "finder").enroll()
    ready.start_scan(target, whenUnavailable="queue", runnerId=hand.id)
    hand.take()
    severities = ("critical", "high", "medium", "low", "info")
    for first in range(0, FINDINGS, BATCH):
        numbers = range(first, first + BATCH)
        hand.say(*(found(f"Flaw {number}", severities[number % 5], parameter=f"p{number}", evidence="e" * 500) for number in numbers))
    hand.end()


def _first_pages(ready: Plant, cookies: dict[str, str]) -> None:
    header = "; ".join(f"{name}={value}" for name, value in cookies.items())
    with httpx2.Client(base_url=ready.url, headers={"cookie": header}, trust_env=False, timeout=60) as client:
        for path in PAGES:
            taken = [_timed(client, path) for _ in range(ROUNDS)]
            milliseconds = [round(seconds * 1000, 1) for seconds, _ in taken]
            size = taken[-1][1] / 1024
            rest = statistics.median(milliseconds[1:])
            print(f"{path:14} first {milliseconds[0]:6.1f} ms, then {rest:6.1f} ms (at most {max(milliseconds[1:]):.1f}), {size:5.0f} KiB")


def _timed(client: httpx2.Client, path: str) -> tuple[float, int]:
    began = time.perf_counter()
    answer = client.get(path)
    assert answer.status_code == 200, f"{path}: {answer.status_code}"
    return time.perf_counter() - began, len(answer.content)


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
            print(f"after {now:4.0f} s: {sizes[-1]:.2f} MiB of script, {told['Nodes']:.0f} nodes", flush=True)
        page.wait_for_timeout(1000)
    if sizes:
        print(f"memory of the page: {sizes[0]:.2f} MiB at first, {sizes[-1]:.2f} MiB at the end, {max(sizes):.2f} MiB at most")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10)
    main(parser.parse_args().minutes)
