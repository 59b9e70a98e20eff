"""More requests than the database can serve soon: some are turned away at once, and nobody who was let in waits in vain."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest
from sqlalchemy import AsyncAdaptedQueuePool

from apviso.server import web
from apviso.server.web import MOST_AT_ONCE, TURNED_AWAY_SECONDS
from tests.server.scans.situations import queued_scan, until_in_line
from tests.support.control_plane import Plane
from tests.support.people import Organization, Runner

TOO_MANY = 50
SECONDS = 120


@pytest.fixture
def fast_lane() -> bool:
    """What is answered from memory needs no room."""
    return False


async def take_every_connection(plane: Plane, held: AsyncExitStack) -> None:
    pool = plane.resources.database.engine.pool
    assert isinstance(pool, AsyncAdaptedQueuePool)
    while pool.checkedout() < pool.size() + pool._max_overflow:
        await held.enter_async_context(plane.resources.database.reading())


async def test_requests_beyond_those_that_may_wait_are_turned_away_at_once(plane: Plane, acme: Organization) -> None:
    async with AsyncExitStack() as held, asyncio.timeout(SECONDS):
        await take_every_connection(plane, held)
        asking = [asyncio.create_task(acme.get("/targets")) for _ in range(MOST_AT_ONCE + TOO_MANY)]
        first, _ = await asyncio.wait(asking, return_when=asyncio.FIRST_COMPLETED)
        process = await plane.call("GET", "/healthz")
    answers = await asyncio.gather(*asking)

    refused = [answer for answer in answers if answer.status_code != 200]
    assert {(answer.status_code, answer.json()["code"], answer.json()["retryable"]) for answer in refused} == {(503, "overloaded", True)}
    assert len(refused) == TOO_MANY
    assert {task.result().status_code for task in first} == {503}
    waits = {int(answer.headers["retry-after"]) for answer in refused}
    assert TURNED_AWAY_SECONDS[0] <= min(waits) < max(waits) <= TURNED_AWAY_SECONDS[1]
    assert process.status_code == 200
    assert (await acme.get("/targets")).status_code == 200


async def test_claims_that_are_held_open_leave_room_for_others(
    plane: Plane, acme: Organization, runner: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web, "MOST_AT_ONCE", 2)
    async with asyncio.timeout(SECONDS):
        waiting = []
        for number in range(1, 5):
            waiting.append(asyncio.create_task(runner.claim(wait=60)))
            await until_in_line(acme, number)

        case = await queued_scan(acme, runner)
        done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        (await acme.delete(f"/runners/{runner.id}")).raise_for_status()
        await asyncio.wait(waiting)

    assert [task.result().json()["job"]["scan"]["id"] for task in done] == [case.scan_id]
