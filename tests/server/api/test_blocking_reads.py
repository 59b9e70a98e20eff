"""`?wait=`: reads that are held open until what they show has changed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager

import httpx2
import pytest

from apviso.runner.retrying import pause
from apviso.server import blocking
from apviso.server.settings import Settings
from tests.support.clock import Clock
from tests.support.control_plane import Plane
from tests.support.in_turn import in_turn
from tests.support.people import Organization, Runner

# Longer than any of these tests may take: what answers sooner was woken.
LONG = 50


@pytest.fixture(autouse=True)
def without_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a hint ends a wait here."""
    monkeypatch.setattr(blocking, "POLL_SECONDS", float(LONG))


@asynccontextmanager
async def held(plane: Plane, read: Awaitable[httpx2.Response]) -> AsyncIterator[asyncio.Task[httpx2.Response]]:
    """The read as a task, once it is held open; it has to be answered in time."""
    before = plane.resources.parking.taken
    async with asyncio.timeout(20):
        task = asyncio.ensure_future(read)
        while plane.resources.parking.taken == before:
            assert not task.done(), "answered at once"
            await pause(asyncio.Event(), 0.01)
        yield task
        await task


async def idle(plane: Plane) -> None:
    """Until no connection is in use. A held read that kept one would keep it for longer than this waits."""
    async with asyncio.timeout(20):
        while plane.resources.database.connections_in_use:
            await pause(asyncio.Event(), 0.01)


async def test_scan_that_is_waited_for_is_answered_when_its_status_changes(plane: Plane, acme: Organization, runner: Runner) -> None:
    scan = (await acme.scan((await acme.target())["id"]))["scan"]

    async with held(plane, acme.get(f"/scans/{scan['id']}?wait={LONG}")) as read:
        await runner.claimed()

    assert read.result().json()["scan"]["status"] == "assigned"


async def test_scan_that_is_waited_for_by_its_tag_is_answered_when_anything_changes(
    plane: Plane, acme: Organization, runner: Runner
) -> None:
    scan = (await acme.scan((await acme.target())["id"]))["scan"]
    job = await runner.claimed()
    (await runner.on_job(job, "preflight", ok=True)).raise_for_status()
    (await runner.on_job(job, "start")).raise_for_status()
    first = await acme.get(f"/scans/{scan['id']}")
    progress = {"seq": 1, "at": "2026-05-03T09:15:32Z", "type": "progress", "percent": 40, "requests": 7}

    path, headers = f"/scans/{scan['id']}?wait={LONG}", {"If-None-Match": first.headers["etag"]}
    async with held(plane, acme.get(path, headers=headers)) as read:
        (await runner.on_job(job, "events", events=[progress])).raise_for_status()

    assert read.result().json()["scan"]["progress"]["percent"] == 40
    assert read.result().headers["etag"] != first.headers["etag"]


async def test_scan_that_does_not_change_is_not_modified_when_the_time_is_up(acme: Organization) -> None:
    path = f"/scans/{(await acme.scan((await acme.target())['id']))['scan']['id']}"
    first = await acme.get(path)

    by_tag = await acme.get(f"{path}?wait=0.05", headers={"If-None-Match": first.headers["etag"]})
    by_status = await acme.get(f"{path}?wait=0.05")

    assert (by_tag.status_code, by_tag.content) == (304, b"")
    assert (by_status.status_code, by_status.headers["etag"]) == (200, first.headers["etag"])


async def test_scan_that_has_ended_or_differs_already_is_answered_at_once(plane: Plane, acme: Organization) -> None:
    path = f"/scans/{(await acme.scan((await acme.target())['id']))['scan']['id']}"

    differs = await acme.get(f"{path}?wait={LONG}", headers={"If-None-Match": '"other"'})
    await acme.post(f"{path}/cancel")
    ended = await acme.get(f"{path}?wait={LONG}")

    assert [answer.status_code for answer in (differs, ended)] == [200, 200]
    assert ended.json()["scan"]["status"] == "cancelled"


async def test_runner_that_is_waited_for_is_answered_when_it_goes_offline(
    plane: Plane, acme: Organization, runner: Runner, clock: Clock
) -> None:
    clock.pass_by(seconds=121)
    (await runner.beat()).raise_for_status()

    async with held(plane, acme.get(f"/runners/{runner.id}?wait={LONG}")) as read:
        clock.pass_by(seconds=61)
        await plane.settle()

    assert read.result().json()["runner"]["status"] == "offline"


async def test_read_that_is_held_open_holds_no_connection_of_the_database(plane: Plane, acme: Organization, runner: Runner) -> None:
    scan = (await acme.scan((await acme.target())["id"]))["scan"]

    async with held(plane, acme.get(f"/scans/{scan['id']}?wait={LONG}")):
        await idle(plane)
        in_use = plane.resources.database.connections_in_use
        await runner.claimed()

    assert in_use == 0


async def test_read_of_a_key_that_is_revoked_meanwhile_is_refused(plane: Plane, acme: Organization) -> None:
    scan = (await acme.scan((await acme.target())["id"]))["scan"]
    issued = (await acme.post("/api-keys", {"name": "ci", "scopes": ["scans:*"]})).json()
    reader = Organization(acme.client, acme.id, issued["key"])

    async with held(plane, reader.get(f"/scans/{scan['id']}?wait={LONG}")) as read:
        (await acme.delete(f"/api-keys/{issued['apiKey']['id']}")).raise_for_status()
        await acme.post(f"/scans/{scan['id']}/cancel")

    assert (read.result().status_code, read.result().json()["code"]) == (401, "credential_invalid")


async def test_read_of_another_organization_is_not_found_and_not_held(acme: Organization, other: Organization, runner: Runner) -> None:
    scan = (await acme.scan((await acme.target())["id"]))["scan"]

    answers = [await other.get(f"/scans/{scan['id']}?wait={LONG}"), await other.get(f"/runners/{runner.id}?wait={LONG}")]

    assert [answer.json()["code"] for answer in answers] == ["scan_not_found", "runner_not_found"]


@in_turn("wait", ["-1", "61", "soon", "inf", "nan"])
async def test_wait_that_is_no_time_is_refused(acme: Organization, runner: Runner, wait: str) -> None:
    answer = await acme.get(f"/runners/{runner.id}?wait={wait}")

    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "wait")


class TestFewPlaces:
    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        return settings.model_copy(update={"max_parked_requests": 1})

    async def test_read_beyond_the_places_is_turned_away_and_told_when_to_come_back(
        self, plane: Plane, acme: Organization, runner: Runner
    ) -> None:
        async with held(plane, acme.get(f"/runners/{runner.id}?wait={LONG}")):
            refused = await acme.get(f"/runners/{runner.id}?wait={LONG}")
            at_once = await acme.get(f"/runners/{runner.id}")
            await acme.delete(f"/runners/{runner.id}")
        again = await acme.get(f"/runners/{runner.id}?wait=0.01")

        assert (refused.status_code, refused.json()["code"]) == (503, "overloaded")
        assert "retry-after" in refused.headers
        assert (at_once.status_code, again.status_code) == (200, 200)

    async def test_server_that_ends_answers_what_it_holds(self, plane: Plane, acme: Organization, runner: Runner) -> None:
        async with held(plane, acme.get(f"/runners/{runner.id}?wait={LONG}")) as read:
            plane.resources.signals.close()

        assert read.result().status_code == 200
