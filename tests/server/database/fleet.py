"""Runners and people at work without a pause, who repeat in the same words what was not answered; and what must be true afterwards."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import httpx2
from sqlalchemy import text

from apviso.server.db.engine import Database
from apviso.server.settings import Settings
from apviso.server.signals import Signals
from tests.server.scans.situations import ENDED, found, logged
from tests.support.clock import RealClock
from tests.support.people import Organization, Runner

# On a machine that does nothing else a test takes a tenth of it.
SECONDS = 150
# Of those without work: four to the time after which one is offline, as the product has it. A process that is killed takes the beats of
# its last second with it, so that two intervals may pass without one; nobody is silent for four unless something is wrong.
BEAT_SECONDS, OFFLINE_SECONDS = 2.5, 10
IDLE = 4
EVENTS = (logged(1), found(2), logged(3))


@dataclass
class Fleet:
    """Runners that beat and work without a pause; what they were told is noted."""

    organization: Organization
    runners: list[Runner]
    statuses: dict[int, int] = field(default_factory=dict)
    refusals: list[httpx2.Response] = field(default_factory=list)
    acknowledged: list[str] = field(default_factory=list)
    queued: list[str] = field(default_factory=list)
    is_over: bool = False

    async def said(self, call: Awaitable[httpx2.Response]) -> httpx2.Response:
        answer = await call
        self.statuses[answer.status_code] = self.statuses.get(answer.status_code, 0) + 1
        if answer.status_code >= 400:
            self.refusals.append(answer)
        return answer

    async def until_taken(self, make: Callable[[], Awaitable[httpx2.Response]]) -> httpx2.Response:
        """Ask in the same words until the answer is not 503; a runner does the same."""
        while True:
            answer = await self.said(make())
            if answer.status_code != 503:
                return answer
            await asyncio.sleep(0.2)

    async def took(self, make: Callable[[], Awaitable[httpx2.Response]]) -> dict[str, Any]:
        """What must be taken in the end, whatever happens: nothing that it follows from was lost."""
        answer = await self.until_taken(make)
        assert answer.status_code == 200, answer.text
        told: dict[str, Any] = answer.json()
        return told

    async def beat(self, runner: Runner) -> None:
        while not self.is_over:
            await self.took(runner.beat)
            await asyncio.sleep(0.2)

    async def beat_seldom(self, runner: Runner, first_after: float) -> None:
        """As a runner without work does, only faster: it does not come at once when the server is back."""
        await asyncio.sleep(first_after)
        while not self.is_over:
            answer = await self.said(runner.beat())
            assert answer.status_code in (200, 503), answer.text
            await asyncio.sleep(BEAT_SECONDS)

    async def ask(self, target_id: str) -> None:
        """One scan after the other of a target."""
        for number in itertools.count():
            if self.is_over:
                return
            wanted = {"json": {"targetId": target_id, "whenUnavailable": "queue"}, "headers": {"Idempotency-Key": f"{target_id}-{number}"}}
            while not self.is_over:
                answer = await self.until_taken(partial(self.organization.post, "/scans", **wanted))
                if answer.status_code == 201:
                    self.queued.append(answer.json()["scan"]["id"])
                    break
                await asyncio.sleep(0.1)

    async def work(self, runner: Runner) -> None:
        for number in itertools.count():
            if self.is_over:
                return
            job = (await self.took(partial(runner.claim, f"{runner.id}-{number}", wait=0.3)))["job"]
            if job is None:
                continue
            await self.took(partial(runner.on_job, job, "start"))
            for event in EVENTS:
                told = await self.took(partial(runner.on_job, job, "events", events=[event]))
                assert told["ackedSeq"] == event["seq"]
            await self.took(partial(runner.on_job, job, "finish", **{**ENDED, "lastSeq": len(EVENTS)}))
            self.acknowledged.append(job["scan"]["id"])


@asynccontextmanager
async def at_work(acme: Organization, size: int = 4) -> AsyncIterator[Fleet]:
    """The body happens to a fleet that works; at the end everyone has had the last answer."""
    idle = [await acme.runner(f"idle-{number}") for number in range(IDLE)]
    runners = [await acme.runner(f"runner-{number}") for number in range(size)]
    targets = [(await acme.target(f"localhost:{3000 + number}"))["id"] for number in range(size)]
    fleet = Fleet(acme, [*idle, *runners])
    async with asyncio.timeout(SECONDS), asyncio.TaskGroup() as group:
        for number, runner in enumerate(idle):
            group.create_task(fleet.beat_seldom(runner, BEAT_SECONDS * number / IDLE))
        for runner, target in zip(runners, targets, strict=True):
            group.create_task(fleet.beat(runner))
            group.create_task(fleet.work(runner))
            group.create_task(fleet.ask(target))
        await until_acknowledged(fleet, 3)
        yield fleet
        await until_acknowledged(fleet, len(fleet.acknowledged) + 8)
        fleet.is_over = True


async def until_acknowledged(fleet: Fleet, number: int) -> None:
    while len(fleet.acknowledged) < number:  # noqa: ASYNC110  # runners signal nobody
        await asyncio.sleep(0.05)


async def check_record(settings: Settings, fleet: Fleet) -> None:
    """Nothing that was acknowledged is lost or done twice, nobody was called offline, and no answer was a surprise."""
    for answer in fleet.refusals:
        assert answer.status_code in (409, 503), answer.text
        if answer.status_code == 503:
            told = answer.json()
            assert (told["code"], told["retryable"], int(answer.headers["retry-after"]) >= 1) == ("database_unavailable", True, True)
    assert len(set(fleet.acknowledged)) == len(fleet.acknowledged)
    scans, events, sightings, ended, changes = await rows(
        settings,
        "SELECT id, status, attempt FROM scans",
        "SELECT scan_id, attempt, seq FROM scan_events ORDER BY 1, 2, 3",
        "SELECT scan_id, count(*) FROM sightings GROUP BY 1",
        "SELECT subject_id, count(*) FROM audit_events WHERE action = 'scan.ended' GROUP BY 1",
        "SELECT type, count(*) FROM stream_events WHERE type LIKE 'runner.%' GROUP BY 1",
    )
    kept = {scan_id: (status, attempt) for scan_id, status, attempt in scans}
    assert {kept[scan_id] for scan_id in fleet.acknowledged} == {("completed", 1)}
    assert set(fleet.queued) <= set(kept)
    for scan_id in fleet.acknowledged:
        assert [(attempt, seq) for of_scan, attempt, seq in events if of_scan == scan_id] == [(1, event["seq"]) for event in EVENTS]
    assert {number for scan_id, number in sightings if scan_id in fleet.acknowledged} == {1}
    assert {number for _, number in ended} == {1}
    by_type = dict(changes)
    # Where the machine is slow a heartbeat may come late, which is told as often as it is over, and is no silence.
    late = by_type.pop("runner.degraded", 0)
    assert set(by_type) == {"runner.enrolled", "runner.online"}
    assert by_type["runner.enrolled"] == len(fleet.runners)
    assert len(fleet.runners) <= by_type["runner.online"] <= len(fleet.runners) + late


async def rows(settings: Settings, *queries: str) -> list[list[tuple[Any, ...]]]:
    """The answers of the database itself."""
    database = Database(settings.database_url, RealClock(), Signals())
    try:
        async with database.reading() as work:
            return [[tuple(row) for row in await work.db.execute(text(query))] for query in queries]
    finally:
        await database.close()
