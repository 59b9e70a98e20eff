"""A fleet that is larger than its share of heartbeats is told to report less often, on both ways of a heartbeat, and is given more time."""

from __future__ import annotations

import pytest

from apviso.server import housekeeping
from apviso.server.settings import Settings
from tests.server.database.crowd import crowd, put
from tests.support.clock import Clock
from tests.support.control_plane import Plane
from tests.support.people import Organization, Runner, register


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"heartbeats_per_second": 1})


async def _told(runner: Runner) -> int:
    answer: int = (await runner.beat()).raise_for_status().json()["heartbeatIntervalMs"]
    return answer


async def _status(organization: Organization, runner: Runner) -> str:
    return str((await organization.get(f"/runners/{runner.id}")).json()["runner"]["status"])


async def test_runners_of_a_large_fleet_report_less_often_and_may_be_silent_longer(plane: Plane, acme: Organization, clock: Clock) -> None:
    clock.pass_by(seconds=200)
    runner = await acme.runner()
    before = await _told(runner)
    async with plane.resources.database.writing() as work:
        await put(work, crowd(acme.id, 29))
    # They are counted once a minute; the first count may have come late.
    for _ in range(5):
        clock.pass_by(seconds=15)
        await runner.beat()

    await housekeeping.keep_pace(plane.resources)
    fast = await _told(runner)
    plane.resources.beats.forget_everyone()
    documented = await _told(runner)

    assert (before, fast, documented) == (15_000, 30_000, 30_000)
    statuses = []
    for after in (70, 1, 49, 1):
        clock.pass_by(seconds=after)
        statuses.append(await _status(acme, runner))
    assert statuses == ["online", "degraded", "degraded", "offline"]


async def test_runner_that_enrolls_is_told_the_interval_of_all_organizations_together(
    plane: Plane, acme: Organization, other: Organization, clock: Clock
) -> None:
    async with plane.resources.database.writing() as work:
        await put(work, crowd(other.id, 30))
    clock.pass_by(seconds=60)
    await housekeeping.keep_pace(plane.resources)

    enrolled = await register(acme.client, await acme.enrollment_token())

    assert enrolled.json()["heartbeatIntervalMs"] == 30_000
