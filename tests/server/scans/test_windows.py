"""Hours in which scans of a target may start, and hours in which a runner takes none: what people are told, and who gets what."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from tests.server.scans.situations import ENOUGH_SECONDS, until_in_line
from tests.support.clock import Clock
from tests.support.control_plane import Plane
from tests.support.people import Organization, Runner

# In the tests it is Sunday, 2026-05-03 09:15:32.
NIGHTS = [{"start": "22:00", "end": "06:00", "timeZone": "Europe/Berlin"}]
MORNING = [{"days": [0], "start": "09:00", "end": "10:00"}]
TEN = datetime(2026, 5, 3, 10, 0, tzinfo=UTC)


async def test_windows_told_are_shown_and_can_be_taken_away(acme: Organization, runner: Runner) -> None:
    target = await acme.target(scanWindows=NIGHTS)
    place, machine = f"/targets/{target['id']}", f"/runners/{runner.id}"

    maintained = (await acme.patch(machine, {"maintenanceWindows": MORNING})).json()["runner"]
    freed = (await acme.patch(place, {"scanWindows": []})).json()["target"]
    working = (await acme.patch(machine, {"maintenanceWindows": []})).json()["runner"]
    refused = await acme.patch(place, {"scanWindows": [{"start": "25:00", "end": "06:00"}]})

    assert target["scanWindows"] == [{"days": [0, 1, 2, 3, 4, 5, 6], **NIGHTS[0]}]
    assert maintained["maintenanceWindows"] == [{**MORNING[0], "timeZone": "UTC"}]
    assert (maintained["status"], maintained["acceptingJobs"]) == ("online", False)
    assert (freed["scanWindows"], working["maintenanceWindows"], working["acceptingJobs"]) == ([], [], True)
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid_fields")


async def test_scan_outside_its_targets_windows_is_refused_with_the_next_start_or_waits_for_it(
    acme: Organization, runner: Runner, clock: Clock
) -> None:
    target = await acme.target(scanWindows=NIGHTS)

    refused = (await acme.post("/scans", {"targetId": target["id"]})).json()
    waiting = (await acme.scan(target["id"]))["scan"]["waitingFor"]
    before = (await runner.claim()).json()
    clock.now = datetime(2026, 5, 3, 20, 0, tzinfo=UTC)
    await runner.beat()
    job = await runner.claimed()

    assert (refused["code"], refused["primaryBlocker"]) == ("runner_not_ready", "scan_window_closed")
    assert refused["readiness"]["estimatedStartAt"] == "2026-05-03T20:00:00Z"
    (check,) = [one for one in waiting["checks"] if not one["ok"]]
    assert (check["code"], check["observed"], check["required"]) == ("scan_window_closed", "closed", "open")
    assert "2026-05-03T20:00:00Z" in check["message"]
    assert waiting["estimatedStartAt"] == "2026-05-03T20:00:00Z"
    assert (before["job"], before["notAccepting"]) == (None, None)
    assert job["target"]["id"] == target["id"]


async def test_turn_of_a_targets_window_is_told_unless_something_else_is_in_the_way(
    acme: Organization, runner: Runner, plane: Plane, clock: Clock
) -> None:
    target = await acme.target(scanWindows=[{"start": "10:00", "end": "12:00"}])
    told = []
    for hour in (10, 12, 34, 36):
        clock.now = datetime(2026, 5, 3, tzinfo=UTC) + timedelta(hours=hour, seconds=1)
        if hour != 34:
            await runner.beat()
        await plane.settle()
        await plane.settle()
        told.append([data for kind, data in await plane.told() if kind == "readiness.changed" and "targetId" in data][-1:])

    about = {"targetId": target["id"], "domain": target["domain"]}
    closed = {**about, "ready": False, "primaryBlocker": "scan_window_closed"}
    first, second = (f"No scan of this target may start before 2026-05-{day}T10:00:00Z." for day in ("04", "05"))
    opened = {**about, "ready": True, "primaryBlocker": None, "reason": None}
    assert told == [[opened], [{**closed, "reason": first}], [{**closed, "reason": first}], [{**closed, "reason": second}]]


async def test_maintenance_that_begins_and_ends_changes_what_is_told_of_readiness(
    acme: Organization, runner: Runner, plane: Plane, clock: Clock
) -> None:
    (await acme.patch(f"/runners/{runner.id}", {"maintenanceWindows": [{"start": "09:30", "end": "10:00"}]})).raise_for_status()
    await plane.settle()
    before = len(await plane.told())
    for moment in (TEN.replace(hour=9, minute=30), TEN):
        clock.now = moment
        await runner.beat()
        # That the beat has stirred something is not what readiness is judged for.
        plane.resources.signals.take_stirred()
        await plane.settle()

    told = [(data["ready"], data["primaryBlocker"]) for kind, data in (await plane.told())[before:] if kind == "readiness.changed"]

    assert told == [(False, "runner_in_maintenance"), (True, None)]


async def test_scan_whose_window_has_closed_is_in_nobodys_way(acme: Organization, runner: Runner, plane: Plane, clock: Clock) -> None:
    closed, free = await acme.target("localhost:1", scanWindows=MORNING), await acme.target("localhost:2")
    await acme.scan(closed["id"])
    clock.now = TEN
    await runner.beat()
    await acme.scan(free["id"])

    first = await runner.claimed()
    await runner.run_whole(first)
    await plane.settle()
    second = (await runner.claim()).json()["job"]

    assert (first["target"]["id"], second) == (free["id"], None)
    waiting = (await acme.get(f"/scans?targetId={closed['id']}")).json()["scans"][0]["waitingFor"]
    assert waiting["estimatedStartAt"] == "2026-05-10T09:00:00Z"


async def test_scan_may_wait_for_its_window_longer_than_for_a_runner(
    acme: Organization, runner: Runner, plane: Plane, clock: Clock
) -> None:
    target = await acme.target(scanWindows=[{"days": [6], "start": "09:00", "end": "10:00"}])
    scan = (await acme.scan(target["id"]))["scan"]
    clock.now = datetime(2026, 5, 9, 8, 59, tzinfo=UTC)
    await plane.settle()
    before = (await acme.get(f"/scans/{scan['id']}")).json()["scan"]["status"]

    clock.now = datetime(2026, 5, 10, 9, 0, tzinfo=UTC)
    await plane.settle()

    after = (await acme.get(f"/scans/{scan['id']}")).json()["scan"]
    assert (before, after["status"], after["endReason"]) == ("pending_runner", "failed", "queue_timeout")


@pytest.mark.parametrize("fast_lane", [True, False])
async def test_runner_in_maintenance_is_given_nothing_and_told_why(acme: Organization, runner: Runner, clock: Clock) -> None:
    target = await acme.target()
    (await acme.patch(f"/runners/{runner.id}", {"maintenanceWindows": MORNING})).raise_for_status()
    await runner.beat()

    waiting = (await acme.scan(target["id"]))["scan"]["waitingFor"]
    told = (await runner.claim()).json()
    clock.now = TEN
    await runner.beat()
    job = await runner.claimed()

    assert (waiting["primaryBlocker"], waiting["estimatedStartAt"]) == ("runner_in_maintenance", "2026-05-03T10:00:00Z")
    assert (told["job"], told["notAccepting"]) == (None, "maintenance")
    assert job["target"]["id"] == target["id"]


async def test_maintenance_that_begins_while_a_claim_waits_keeps_the_runner_from_the_job(
    acme: Organization, runner: Runner, clock: Clock
) -> None:
    (await acme.patch(f"/runners/{runner.id}", {"maintenanceWindows": [{"start": "09:15", "end": "10:00"}]})).raise_for_status()
    clock.now = clock.now.replace(minute=14)
    await runner.beat()
    waiting = asyncio.create_task(runner.claim(wait=1))
    await until_in_line(acme)

    clock.now = clock.now.replace(minute=15, second=0)
    await acme.scan((await acme.target())["id"])
    told = (await waiting).json()

    assert (told["job"], told["notAccepting"]) == (None, "maintenance")


async def test_claim_that_waits_gets_the_scan_when_window_opens_and_maintenance_ends(
    acme: Organization, runner: Runner, clock: Clock
) -> None:
    (await acme.patch(f"/runners/{runner.id}", {"maintenanceWindows": MORNING})).raise_for_status()
    await runner.beat()
    target = await acme.target(scanWindows=[{"start": "10:00", "end": "12:00"}])
    await acme.scan(target["id"])
    async with asyncio.timeout(ENOUGH_SECONDS), asyncio.TaskGroup() as group:
        waiting = group.create_task(runner.claim(wait=30))
        await until_in_line(acme)

        # Nobody says a word: the sweep finds it.
        clock.now = TEN

    assert waiting.result().json()["job"]["target"]["id"] == target["id"]
