"""Heartbeats on real connections, which answer some of them before uvicorn hears of a request: never otherwise than it would."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest

from apviso.connections import MOST_BODY_BYTES, Bounds, within
from apviso.server.serving import refusal
from apviso.server.settings import Settings
from tests.server.runners.test_fast_lane import comparable
from tests.support.control_plane import Plane, answered_from_memory, on_a_socket
from tests.support.people import Organization, Runner
from tests.support.raw import say

BOUNDS = Bounds(head_seconds=10, head_bytes=4096, body_seconds=10, stalled_seconds=10, connections=100)


@pytest.fixture
def fast_lane() -> bool:
    return True


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Nothing is written behind: what has to be written before its answer is not answered at once."""
    return settings.model_copy(update={"presence_flush_seconds": 10})


@pytest.fixture
async def client(plane: Plane) -> AsyncIterator[httpx2.AsyncClient]:
    async with on_a_socket(plane, within(BOUNDS, refusal, plane.app.quick)) as client:
        yield client


def heartbeat(runner: Runner, *fields: bytes, version: bytes = b"1.1", path: bytes = b"/api/runner/heartbeat", filling: int = 0) -> bytes:
    """The next one of this runner, whole, with a length unless it names a coding."""
    runner.beats += 1
    said = {"bootId": runner.boot_id, "beatSeq": runner.beats, "version": "0.1.0", "lastClaimPollAgeMs": 0}
    body = json.dumps(said).encode() + b" " * filling
    is_chunked = any(field.startswith(b"Transfer-Encoding") for field in fields)
    head = [b"POST " + path + b" HTTP/" + version, b"Host: x", b"Authorization: Bearer " + runner.token.encode(), *fields]
    head += [b"Content-Type: application/json", *([] if is_chunked else [b"Content-Length: %d" % len(body)]), b"", b""]
    return b"\r\n".join(head) + (b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) if is_chunked else body)


async def statuses(client: httpx2.AsyncClient, *parts: bytes) -> list[int]:
    return (await asyncio.to_thread(say, address(client), *parts)).statuses


def address(client: httpx2.AsyncClient) -> tuple[str, int]:
    return client.base_url.host, client.base_url.port or 0


LAST = b"Connection: close"


async def test_answer_at_once_is_that_of_the_documented_way(plane: Plane, runner: Runner, client: httpx2.AsyncClient) -> None:
    before = await answered_from_memory(plane, "heartbeat")
    runner.client = client

    at_once = await runner.beat()
    from_memory = await answered_from_memory(plane, "heartbeat") - before
    plane.app.has_fast_lane = False
    async with on_a_socket(plane, within(BOUNDS, refusal)) as runner.client:
        documented = await runner.beat()

    assert from_memory == 1
    assert set(at_once.headers) == set(documented.headers)
    del at_once.headers["date"], documented.headers["date"]
    assert comparable(at_once) == comparable(documented)


async def test_heartbeats_are_answered_in_turn_however_their_bytes_come(plane: Plane, runner: Runner, client: httpx2.AsyncClient) -> None:
    before = await answered_from_memory(plane, "heartbeat")
    first, second, third, last = (heartbeat(runner) for _ in range(4))
    halves = last.replace(b"Host: x", b"Host: x\r\n" + LAST)

    heard = await asyncio.to_thread(say, address(client), first + second[:-10], second[-10:] + third[:50], third[50:] + halves)

    assert heard.statuses == [200, 200, 200, 200]
    assert await answered_from_memory(plane, "heartbeat") == before + 4


@pytest.mark.parametrize(
    ("fields", "more"),
    [
        ((LAST,), {}),
        ((b"Connection: keep-alive",), {"version": b"1.0"}),
        ((b"Transfer-Encoding: chunked", LAST), {}),
        ((b"Expect: 100-continue", LAST), {}),
        ((b"Connection: Upgrade, close", b"Upgrade: h2c"), {}),
        ((LAST,), {"path": b"/api/runner/heartbeat?wait=0"}),
        ((), {"filling": MOST_BODY_BYTES}),
    ],
)
async def test_heartbeat_in_an_odd_form_is_answered_once(
    runner: Runner, client: httpx2.AsyncClient, fields: tuple[bytes, ...], more: dict[str, Any]
) -> None:
    sent = heartbeat(runner, *fields, **more)
    end = [] if LAST in fields else [b"GET /nowhere HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"]

    heard = await statuses(client, sent, *end)

    # Whoever asks for another protocol may have no body.
    expected = 400 if any(b"Upgrade" in field for field in fields) else 200
    assert [status for status in heard if status not in (100, 404)] == [expected]


async def test_body_that_is_none_is_refused_after_a_head_that_was_good(runner: Runner, client: httpx2.AsyncClient) -> None:
    head, end, body = heartbeat(runner, LAST).partition(b"\r\n\r\n")

    assert await statuses(client, head + end + b"x" * len(body)) == [400]


async def test_token_that_is_revoked_while_the_body_comes_is_refused(
    plane: Plane, acme: Organization, runner: Runner, client: httpx2.AsyncClient
) -> None:
    head, _, body = heartbeat(runner).partition(b"\r\n\r\n")
    reader, writer = await asyncio.open_connection(*address(client))
    writer.write(heartbeat(runner) + head + b"\r\n\r\n")
    assert (await reader.readline()).startswith(b"HTTP/1.1 200")

    (await acme.delete(f"/runners/{runner.id}")).raise_for_status()
    writer.write(body)
    told = await reader.readuntil(b"HTTP/1.1 401")
    writer.close()

    assert told.count(b"HTTP/1.1 ") == 1


async def test_wrong_secret_is_refused_on_a_connection_that_knew_the_right_one(runner: Runner, client: httpx2.AsyncClient) -> None:
    first, right = heartbeat(runner), runner.token
    runner.token = right[:-1] + ("A" if right[-1] != "A" else "B")

    heard = await statuses(client, first, heartbeat(runner, LAST))

    assert heard == [200, 401]
