"""A host whose clock is set by an hour, forward or back: every wait takes as long as it should, and nothing is handed out too early."""

from __future__ import annotations

from datetime import timedelta

import pytest

from apviso.server.settings import Settings
from tests.server.scans.situations import Case, queued_scan
from tests.support.clock import HostClock
from tests.support.control_plane import Plane, running
from tests.support.people import Organization

HOURS = [timedelta(hours=1), timedelta(hours=-1)]


@pytest.fixture
def clock() -> HostClock:
    return HostClock()


def test_time_of_a_host_whose_clock_was_not_set_is_its_own_with_every_small_correction() -> None:
    clock = HostClock()
    clock.pass_by(hours=1)
    clock.be_set(timedelta(seconds=1))

    assert abs(clock() - clock.now) < timedelta(milliseconds=1)
    assert clock.step == timedelta()


@pytest.mark.parametrize("step", HOURS)
def test_time_of_a_host_whose_clock_was_set_goes_on_until_it_is_followed(step: timedelta) -> None:
    clock = HostClock()
    before = clock()

    clock.be_set(step)
    clock.pass_by(seconds=10)
    unfollowed, seen = clock(), clock.step
    clock.follow(clock.step)

    assert round((unfollowed - before).total_seconds(), 3) == 10
    assert round(seen.total_seconds(), 3) == step.total_seconds()
    assert abs(clock() - clock.now) < timedelta(milliseconds=1)
    assert clock.step == timedelta()


@pytest.mark.parametrize("step", HOURS)
async def test_lease_after_the_clock_was_set_is_lost_when_it_should_be(case: Case, plane: Plane, clock: HostClock, step: timedelta) -> None:
    await case.running()
    clock.pass_by(seconds=60)
    clock.be_set(step)
    await plane.settle()
    seen = []
    # Amnesty begins with the step and is 120 s long; 300 s after its last renewal the runner is lost.
    for seconds in (118, 4, 116, 4):
        clock.pass_by(seconds=seconds)
        await plane.settle()
        seen.append(await case.status())

    assert seen == ["running", "stale", "stale", "pending_runner"]
    assert abs(clock() - clock.now) < timedelta(milliseconds=1)


@pytest.mark.parametrize("step", HOURS)
async def test_target_after_the_clock_was_set_is_handed_out_when_nobody_can_be_touching_it(
    case: Case, plane: Plane, clock: HostClock, acme: Organization, step: timedelta
) -> None:
    await case.running()
    (await acme.delete(f"/runners/{case.runner.id}")).raise_for_status()
    clock.pass_by(seconds=60)
    clock.be_set(step)
    await plane.settle()
    south = await acme.runner("south")
    clock.pass_by(seconds=238)
    too_early = (await south.claim()).json()["job"]

    clock.pass_by(seconds=4)
    job = await south.claimed()

    assert too_early is None
    assert job["scan"]["id"] == case.scan_id


@pytest.mark.parametrize("step", HOURS)
async def test_cancel_after_the_clock_was_set_is_forced_in_its_time(case: Case, plane: Plane, clock: HostClock, step: timedelta) -> None:
    await case.running()
    await case.cancel()
    clock.pass_by(seconds=60)
    clock.be_set(step)
    await plane.settle()
    clock.pass_by(seconds=58)
    await plane.settle()
    asked = await case.status()

    clock.pass_by(seconds=4)
    await plane.settle()

    assert (asked, await case.status()) == ("running", "cancelled")


@pytest.mark.parametrize("step", HOURS)
async def test_roll_call_after_the_clock_was_set_ends_when_it_should(settings: Settings, clock: HostClock, step: timedelta) -> None:
    async with running(settings, clock) as before:
        acme = await before.organization("Acme")
        north, _ = await acme.runner("north"), await acme.runner("south")
        case = await queued_scan(acme, north)
    clock.pass_by(hours=1)
    async with running(settings, clock) as plane:
        north.client = plane.client
        clock.pass_by(seconds=60)
        clock.be_set(step)
        await plane.settle()
        clock.pass_by(seconds=238)
        (await north.beat()).raise_for_status()
        too_early = (await north.claim()).json()["notAccepting"]

        clock.pass_by(seconds=4)
        job = await north.claimed()

    assert too_early == "roll_call"
    assert job["scan"]["id"] == case.scan_id
