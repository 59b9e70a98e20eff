"""A control plane with old records, as after a restored backup: nobody gets a scan before the runners have said what they run."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from apviso.protocol.timers import Timers
from apviso.server.settings import Settings
from tests.server.scans.situations import ENOUGH_SECONDS, Case, queued_scan, until_in_line
from tests.support.clock import Clock
from tests.support.control_plane import Plane, running
from tests.support.people import Organization, Runner

HOUR = 3600
MOST_SECONDS = Timers().stale_end_after.total_seconds()


class Site:
    """One organization with a queued scan and two runners, whose control plane is started again and again on the same database."""

    def __init__(self, settings: Settings, clock: Clock, *, fast_lane: bool) -> None:
        self._settings, self.clock, self._fast_lane = settings, clock, fast_lane
        self.plane: Plane
        self.acme: Organization
        self.north: Runner
        self.south: Runner
        self.case: Case

    @asynccontextmanager
    async def first(self) -> AsyncIterator[None]:
        async with running(self._settings, self.clock, fast_lane=self._fast_lane) as self.plane:
            self.acme = await self.plane.organization("Acme")
            self.north, self.south = await self.acme.runner("north"), await self.acme.runner("south")
            self.case = await queued_scan(self.acme, self.north)
            yield

    @asynccontextmanager
    async def started_after(self, seconds: float) -> AsyncIterator[None]:
        self.clock.pass_by(seconds=seconds)
        async with running(self._settings, self.clock, fast_lane=self._fast_lane) as self.plane:
            client = self.plane.client
            self.acme = replace(self.acme, client=client)
            self.north.client = self.south.client = client
            self.case = replace(self.case, organization=self.acme)
            yield

    async def refusal(self, runner: Runner) -> str | None:
        answer: dict[str, Any] = (await runner.claim()).raise_for_status().json()
        assert answer["job"] is None
        return str(answer["notAccepting"])

    async def check(self, code: str = "runner_accepting") -> dict[str, Any]:
        told = (await self.acme.get("/runners/readiness")).raise_for_status().json()
        return next(one for one in told["checks"] if one["code"] == code)


@pytest.fixture
async def site(settings: Settings, clock: Clock, fast_lane: bool) -> Site:
    """After its first control plane has ended."""
    site = Site(settings, clock, fast_lane=fast_lane)
    async with site.first():
        pass
    return site


@pytest.mark.parametrize("fast_lane", [True, False])
async def test_claim_with_old_records_waits_until_every_runner_has_said_what_it_runs(site: Site) -> None:
    async with site.started_after(HOUR):
        for _ in range(2):
            (await site.north.beat()).raise_for_status()
        refused = await site.refusal(site.north)
        waiting = asyncio.create_task(site.north.claim(wait=20))
        await until_in_line(site.acme)

        (await site.south.beat()).raise_for_status()
        given = await asyncio.wait_for(waiting, ENOUGH_SECONDS)

    assert refused == "roll_call"
    assert given.json()["job"]["scan"]["id"] == site.case.scan_id


@pytest.mark.parametrize("fast_lane", [True, False])
async def test_runner_that_runs_an_unknown_job_is_told_to_stop_it_and_waited_for(site: Site) -> None:
    async with site.started_after(HOUR):
        (await site.north.beat()).raise_for_status()
        told = [
            (await site.south.beat(**beat)).raise_for_status().json()["directives"]["cancelJobs"]
            for beat in (
                {"currentJobs": 1, "runningJobs": [{"jobId": "unheard-of", "attempt": 1}]},
                # One that does not say which.
                {"currentJobs": 1},
            )
        ]
        before = await site.refusal(site.north)

        (await site.south.beat(currentJobs=0, runningJobs=[])).raise_for_status()
        job = await site.north.claimed()

    assert told == [["unheard-of"], []]
    assert before == "roll_call"
    assert job["scan"]["id"] == site.case.scan_id


async def test_job_that_the_records_know_answers_in_its_own_attempt_alone(site: Site) -> None:
    async with site.started_after(0):
        job = await site.case.running()
    held = {"jobId": job["job"]["id"], "attempt": 1}
    async with site.started_after(HOUR):
        later = await site.north.beat(currentJobs=1, runningJobs=[{**held, "attempt": 2}])
        same = await site.north.beat(currentJobs=1, runningJobs=[held])
        (await site.south.beat()).raise_for_status()
        renewed = await site.north.on_job(job, "lease")

        assert [answer.json()["directives"]["cancelJobs"] for answer in (later, same)] == [[held["jobId"]], []]
        assert renewed.status_code == 200
        assert (await site.check())["ok"]


async def test_roll_call_ends_when_every_attempt_from_before_has_stopped_itself(site: Site) -> None:
    async with site.started_after(HOUR):
        (await site.north.beat()).raise_for_status()
        site.clock.pass_by(seconds=MOST_SECONDS - 1)
        (await site.north.beat()).raise_for_status()
        too_early = await site.refusal(site.north)

        site.clock.pass_by(seconds=2)
        job = await site.north.claimed()
        await site.plane.settle()
        (await site.south.beat()).raise_for_status()

    assert too_early == "roll_call"
    assert job["scan"]["id"] == site.case.scan_id


async def test_roll_call_goes_on_in_the_next_process_and_ends_no_later(site: Site) -> None:
    async with site.started_after(HOUR):
        (await site.north.beat()).raise_for_status()
    async with site.started_after(60):
        (await site.north.beat()).raise_for_status()
        refused = await site.refusal(site.north)
    async with site.started_after(MOST_SECONDS - 59):
        (await site.north.beat()).raise_for_status()
        job = await site.north.claimed()

    assert refused == "roll_call"
    assert job["scan"]["id"] == site.case.scan_id


async def test_control_plane_that_was_away_for_minutes_hands_out_scans_at_once(site: Site) -> None:
    async with site.started_after(MOST_SECONDS - 60):
        (await site.north.beat()).raise_for_status()
        job = await site.north.claimed()
        # Claims need not ask.
        assert not site.plane.resources.roll_call.may_be_on

    assert job["scan"]["id"] == site.case.scan_id


async def test_readiness_in_a_roll_call_names_who_is_waited_for_and_until_when(site: Site) -> None:
    async with site.started_after(HOUR):
        (await site.north.beat()).raise_for_status()
        until = (site.clock.now + timedelta(seconds=MOST_SECONDS)).isoformat().replace("+00:00", "Z")
        check, scan = await site.check(), await site.case.scan()

    assert (check["ok"], check["observed"], scan["waitingFor"]["primaryBlocker"]) == (False, ["roll_call"], "runner_accepting")
    assert f"before south has said what it runs, at the latest until {until}." in check["message"]
    assert scan["waitingFor"]["reason"] == check["message"]
    assert scan["waitingFor"]["estimatedStartAt"] == until


async def test_roll_call_of_one_organization_holds_up_no_other(site: Site) -> None:
    async with site.started_after(0):
        other = await site.plane.organization("Other")
        theirs = await other.runner("theirs")
        case = await queued_scan(other, theirs)
    async with site.started_after(HOUR):
        (await site.north.beat()).raise_for_status()
        theirs.client = site.plane.client
        (await theirs.beat()).raise_for_status()
        refused, job = await site.refusal(site.north), await theirs.claimed()

    assert (refused, job["scan"]["id"]) == ("roll_call", case.scan_id)


@pytest.mark.parametrize("how", ["long gone", "revoked", "goodbye"])
async def test_runner_that_can_run_nothing_is_not_waited_for(site: Site, how: str) -> None:
    async with site.started_after(0 if how != "long gone" else 25 * HOUR):
        (await site.north.beat()).raise_for_status()
        if how == "revoked":
            (await site.acme.delete(f"/runners/{site.south.id}")).raise_for_status()
    async with site.started_after(HOUR):
        (await site.north.beat()).raise_for_status()
        if how == "goodbye":
            (await site.south.call("POST", "/goodbye", {"bootId": site.south.boot_id})).raise_for_status()
        check = await site.check()

    assert check["ok"]


async def test_scan_that_nobody_runs_any_more_waits_for_another_attempt(site: Site) -> None:
    async with site.started_after(0):
        job = await site.case.running()
    async with site.started_after(HOUR):
        for runner in (site.north, site.south):
            (await runner.beat()).raise_for_status()
        await site.plane.settle()
        in_amnesty = await site.case.status()
        site.clock.pass_by(seconds=121)
        await site.plane.settle()

        assert (in_amnesty, await site.case.status()) == ("running", "pending_runner")
        assert (await site.north.on_job(job, "events", events=[])).json()["code"] == "lease_lost"
