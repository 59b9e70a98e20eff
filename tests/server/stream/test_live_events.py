"""`GET /api/v1/events`: what happens, once, in order, resumable, and only to whom it concerns."""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from datetime import timedelta
from typing import Any

import httpx2

from apviso.server.stream import store as stream_store
from tests.server.scans.situations import queued_scan, until_parked
from tests.server.stream.reading import SECONDS, following
from tests.support.clock import Clock
from tests.support.control_plane import Plane
from tests.support.people import Organization, Runner

EVENTS = "/api/v1/events"


async def test_stream_tells_the_life_of_a_scan_as_it_happens(acme: Organization, runner: Runner, wire: httpx2.AsyncClient) -> None:
    async with following(wire, EVENTS, acme.key) as stream:
        await stream.connected()
        case = await queued_scan(acme, runner)
        created = await stream.next()

        await runner.run_whole(await runner.claimed())

        told = await stream.take(3)
    assert (created.type, created.data["scanId"], created.data["at"]) == ("scan.created", case.scan_id, "2026-05-03T09:15:32Z")
    assert [event.type for event in told] == ["scan.assigned", "scan.started", "scan.completed"]
    assert {event.data["runnerId"] for event in told} == {runner.id}


async def test_stream_resumed_after_a_cut_misses_nothing_and_repeats_nothing(
    acme: Organization, runner: Runner, wire: httpx2.AsyncClient
) -> None:
    async with following(wire, EVENTS, acme.key) as stream:
        await stream.connected()
        await queued_scan(acme, runner)
        seen = await stream.next()
    await runner.run_whole(await runner.claimed())

    async with following(wire, EVENTS, acme.key, **{"Last-Event-ID": str(seen.id)}) as stream:
        told = await stream.take(3)

    assert [event.type for event in told] == ["scan.assigned", "scan.started", "scan.completed"]
    numbers = [int(event.id or 0) for event in (seen, *told)]
    assert numbers == sorted(set(numbers))


async def test_stream_shows_one_organization_nothing_of_another(acme: Organization, other: Organization, wire: httpx2.AsyncClient) -> None:
    async with following(wire, EVENTS, acme.key) as stream:
        await stream.connected()
        await other.runner("of-another")
        await acme.runner("mine")

        first = await stream.next()

    assert (first.type, first.data["name"]) == ("runner.enrolled", "mine")


async def test_stream_for_a_key_without_scans_leaves_them_out(acme: Organization, runner: Runner, wire: httpx2.AsyncClient) -> None:
    limited = await acme.limited_to("runners:read")
    async with following(wire, EVENTS, limited.key) as stream:
        await stream.connected()
        await queued_scan(acme, runner)
        await acme.post(f"/runners/{runner.id}/pause")

        first = await stream.next()

    assert first.type == "runner.paused"


async def test_stream_tells_each_change_of_a_runner_once(
    acme: Organization, runner: Runner, plane: Plane, clock: Clock, wire: httpx2.AsyncClient
) -> None:
    clock.pass_by(seconds=121)
    await runner.beat()
    async with following(wire, EVENTS, acme.key) as stream:
        await stream.connected()
        for seconds in (36, 0, 25, 0, 300):  # late, again, gone, again, still gone
            clock.pass_by(seconds=seconds)
            await plane.settle()
        await runner.beat()
        await plane.settle()
        await runner.call("POST", "/goodbye")
        await acme.delete(f"/runners/{runner.id}")

        told = [
            event for event in await stream.take(7) if event.type in {f"runner.{s}" for s in ("online", "degraded", "offline", "revoked")}
        ]

    assert [(event.type, event.data["statusReasons"]) for event in told] == [
        ("runner.degraded", ["heartbeat_late"]),
        ("runner.offline", ["no_contact"]),
        ("runner.online", []),
        ("runner.offline", ["said_goodbye"]),
        ("runner.revoked", []),
    ]
    assert told[1].data["previousStatus"] == "degraded"


async def test_stream_tells_when_readiness_changes(acme: Organization, runner: Runner, plane: Plane, wire: httpx2.AsyncClient) -> None:
    await plane.settle()
    async with following(wire, EVENTS, acme.key) as stream:
        await stream.connected()
        await acme.post(f"/runners/{runner.id}/pause")
        await plane.settle()

        told = await stream.take(2)

    assert [event.type for event in told] == ["runner.paused", "readiness.changed"]
    assert told[1].data == {
        "type": "readiness.changed",
        "at": "2026-05-03T09:15:32Z",
        "ready": False,
        "primaryBlocker": "runner_accepting",
        "reason": "runner-1 is paused and takes no new scan.",
    }


async def test_stream_tells_that_a_pause_with_an_end_blocks_no_longer(
    acme: Organization, runner: Runner, plane: Plane, clock: Clock, wire: httpx2.AsyncClient
) -> None:
    await acme.post(f"/runners/{runner.id}/pause", {"until": "2026-05-03T09:15:52Z"})
    await plane.settle()
    async with following(wire, EVENTS, acme.key) as stream:
        await stream.connected()
        clock.pass_by(seconds=20)
        await plane.settle()

        told = await stream.next()

    assert (told.type, told.data["ready"], told.data["primaryBlocker"]) == ("readiness.changed", True, None)


async def test_enrollment_is_no_alarm_on_the_stream(acme: Organization, plane: Plane, wire: httpx2.AsyncClient) -> None:
    async with following(wire, EVENTS, acme.key) as stream:
        await stream.connected()
        await acme.runner()
        await plane.settle()

        told = await stream.take(2)

    assert [event.type for event in told] == ["runner.enrolled", "runner.online"]
    assert told[1].data["previousReasons"] == ["never_contacted"]


async def test_stream_with_a_mark_of_nonsense_begins_now(acme: Organization, runner: Runner, wire: httpx2.AsyncClient) -> None:
    for mark in ("soon", "99999999999999999999", "-1"):
        async with following(wire, EVENTS, acme.key, **{"Last-Event-ID": mark}) as stream:
            await stream.connected()
            await acme.post(f"/runners/{runner.id}/resume")

            first = await stream.next()

        assert first.type == "runner.resumed", mark


async def test_stream_that_its_client_leaves_gives_its_place_back(acme: Organization, plane: Plane, wire: httpx2.AsyncClient) -> None:
    async with following(wire, EVENTS, acme.key) as stream:
        await stream.connected()

    await until_parked(acme, 0)
    assert "apviso_parked_requests 0.0" in (await plane.call("GET", "/metrics")).text


async def test_stream_whose_client_left_before_the_first_word_gives_its_place_back(acme: Organization, plane: Plane) -> None:
    sent: list[str] = []
    arriving: list[MutableMapping[str, Any]] = [{"type": "http.request", "body": b"", "more_body": False}]
    has_begun = asyncio.Event()

    async def receive() -> MutableMapping[str, Any]:
        if not arriving:
            await has_begun.wait()
        return arriving.pop() if arriving else {"type": "http.disconnect"}

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(str(message["type"]))
        has_begun.set()
        await asyncio.Event().wait()  # a client that never reads

    headers = [(b"x-api-key", acme.key.encode())]
    scope = {"type": "http", "method": "GET", "path": EVENTS, "raw_path": EVENTS.encode(), "query_string": b"", "headers": headers}
    async with asyncio.timeout(SECONDS):
        await plane.app({**scope, "root_path": "", "scheme": "http", "server": ("x", 80), "client": ("y", 1)}, receive, send)

    assert sent == ["http.response.start"]
    assert "apviso_parked_requests 0.0" in (await plane.call("GET", "/metrics")).text


async def test_stream_goes_on_after_everything_before_was_forgotten(
    acme: Organization, wire: httpx2.AsyncClient, plane: Plane, clock: Clock
) -> None:
    await acme.runner("runner-1")
    async with following(wire, "/api/v1/events", acme.key, **{"Last-Event-ID": "0"}) as stream:
        last = (await stream.next()).id
    clock.pass_by(seconds=3600 * 25)
    await plane.settle()
    async with plane.resources.database.writing() as work:
        await stream_store.forget_before(work, clock.now + timedelta(seconds=1))

    async with following(wire, "/api/v1/events", acme.key, **{"Last-Event-ID": str(last)}) as stream:
        await acme.target("localhost:3999")
        await acme.runner("runner-2")
        later = await stream.next()

    assert int(later.id or 0) > int(last or 0)


async def test_stream_with_a_mark_that_was_never_given_begins_now(acme: Organization, wire: httpx2.AsyncClient) -> None:
    async with following(wire, "/api/v1/events", acme.key, **{"Last-Event-ID": "99999999"}) as stream:
        await acme.runner("runner-1")

        assert (await stream.next()).type == "runner.enrolled"


async def test_stream_of_a_key_that_is_revoked_ends(acme: Organization, wire: httpx2.AsyncClient) -> None:
    made = (await acme.post("/api-keys", {"name": "reader", "scopes": ["runners:read"]})).raise_for_status().json()
    async with following(wire, "/api/v1/events", made["key"]) as stream:
        (await acme.delete(f"/api-keys/{made['apiKey']['id']}")).raise_for_status()
        await acme.runner("runner-1")

        assert await stream.rest() == []
