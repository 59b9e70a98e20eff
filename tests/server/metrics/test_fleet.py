"""Numbers about everyone come from the database: the same in each process, none of them while it is away."""

from __future__ import annotations

import asyncio
from typing import Any

from sqlalchemy import event

from apviso.protocol.readiness import CheckCode
from apviso.server.db.census import Census
from apviso.server.db.engine import Database
from apviso.server.metrics import AGE_BOUNDS
from apviso.server.signals import Signals
from tests.server.scans.situations import Case
from tests.support.clock import Clock
from tests.support.control_plane import Plane
from tests.support.in_turn import in_turn
from tests.support.metrics import scraped
from tests.support.people import Organization, Runner


async def test_runners_that_are_present_and_silent_are_counted_by_status(plane: Plane, acme: Organization, clock: Clock) -> None:
    for name in ("runner-1", "runner-2", "runner-3"):
        await acme.runner(name)
    clock.pass_by(seconds=200)
    await acme.runner("runner-4")
    await plane.settle()

    metrics = await scraped(plane)

    assert metrics.by("status", "apviso_runners") == {"online": 1, "degraded": 0, "offline": 3}


async def test_runner_that_was_revoked_is_counted_no_more(plane: Plane, acme: Organization, runner: Runner) -> None:
    await acme.delete(f"/runners/{runner.id}")

    metrics = await scraped(plane)

    assert sum(metrics.by("status", "apviso_runners").values()) == 0


async def test_age_of_heartbeats_of_present_runners_is_told_as_a_distribution(plane: Plane, acme: Organization, clock: Clock) -> None:
    await acme.runner("runner-1")
    clock.pass_by(seconds=12)
    await acme.runner("runner-2")

    metrics = await scraped(plane)

    counted = metrics.by("le", "apviso_runner_heartbeat_age_seconds_bucket")
    # One of them 5 s ago, the other 17 s.
    assert [counted[str(bound)] for bound in AGE_BOUNDS] == [1, 1, 1, *[2] * (len(AGE_BOUNDS) - 3)]
    assert counted["+Inf"] == 2


@in_turn(
    ("told", "within"),
    [
        (40, {"0.1": 1, "0.5": 1, "300.0": 1, "+Inf": 1}),
        (-400.5, {"0.1": 0, "0.5": 1, "300.0": 1, "+Inf": 1}),
        (10**60, {"0.1": 0, "0.5": 0, "300.0": 0, "+Inf": 1}),
        ("much", {"0.1": 0, "0.5": 0, "300.0": 0, "+Inf": 0}),
        (True, {"0.1": 0, "0.5": 0, "300.0": 0, "+Inf": 0}),
        ({"ms": 3}, {"0.1": 0, "0.5": 0, "300.0": 0, "+Inf": 0}),
        (None, {"0.1": 0, "0.5": 0, "300.0": 0, "+Inf": 0}),
    ],
)
async def test_clock_that_a_runner_calls_anything_breaks_no_count(plane: Plane, runner: Runner, told: Any, within: dict[str, int]) -> None:
    (await runner.beat(health={"clockSkewMs": told})).raise_for_status()

    counted = (await scraped(plane)).by("le", "apviso_runner_clock_skew_seconds_bucket")

    assert {bound: counted[bound] for bound in within} == within


async def test_scans_and_leases_are_counted_as_they_move_on(plane: Plane, acme: Organization, case: Case, clock: Clock) -> None:
    waiting = await acme.target("localhost:4000")
    await acme.scan(waiting["id"])
    await case.running()
    clock.pass_by(seconds=55)

    metrics = await scraped(plane)

    assert metrics.by("status", "apviso_scans_active") == {"pending_runner": 1, "assigned": 0, "running": 1, "stale": 0}
    assert metrics("apviso_leases_active") == 1
    assert metrics("apviso_oldest_waiting_scan_seconds") == 60


async def test_organizations_that_cannot_scan_are_counted_by_what_blocks(plane: Plane, acme: Organization, other: Organization) -> None:
    await acme.runner()
    await other.enrollment_token()
    plane.resources.signals.deliver("*")
    await plane.settle()

    blocked = (await scraped(plane)).by("code", "apviso_readiness_blocked")

    assert set(blocked) == set(CheckCode)
    assert {code: number for code, number in blocked.items() if number} == {"runner_registered": 1}


async def test_scrapes_at_the_same_time_count_once(plane: Plane, runner: Runner) -> None:
    # Of its own, so that what works in the background asks another one.
    database = Database(plane.resources.database.url, plane.clock, Signals())
    asked: list[str] = []
    event.listen(database.engine.sync_engine, "before_cursor_execute", lambda *told: asked.append(told[2]))
    try:
        await Census(database).counts()
        once = len(asked)
        census = Census(database)
        counts = await asyncio.gather(*(census.counts() for _ in range(20)))
    finally:
        await database.close()

    assert once > 0
    assert len(asked) == 2 * once
    assert counts[0] is not None
    assert all(each is counts[0] for each in counts)
