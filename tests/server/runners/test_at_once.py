"""Heartbeats on real connections, which answer some of them before uvicorn hears of a request: never otherwise than it would."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

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
async def client(plane: Plane, runner: Runner) -> AsyncIterator[httpx2.AsyncClient]:
    """The runner is remembered, and connections alone answer from memory."""
    (await runner.beat()).raise_for_status()
    plane.app.has_fast_lane = False
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
END = b"GET /nowhere HTTP/1.1\r\nHost: x\r\n" + LAST + b"\r\n\r\n"


async def test_answer_at_once_is_that_of_the_documented_way(plane: Plane, runner: Runner, client: httpx2.AsyncClient) -> None:
    before = await answered_from_memory(plane, "heartbeat")
    runner.client = client

    at_once = await runner.beat()
    from_memory = await answered_from_memory(plane, "heartbeat") - before
    async with on_a_socket(plane, within(BOUNDS, refusal)) as runner.client:
        documented = await runner.beat()

    assert from_memory == 1
    assert set(at_once.headers) == set(documented.headers)
    del at_once.headers["date"], documented.headers["date"]
    assert comparable(at_once) == comparable(documented)


async def test_heartbeats_are_answered_at_once_and_in_turn_however_their_bytes_come(
    plane: Plane, runner: Runner, client: httpx2.AsyncClient
) -> None:
    before = await answered_from_memory(plane, "heartbeat")
    first, second, third, last = *(heartbeat(runner) for _ in range(3)), heartbeat(runner, LAST)

    heard = await statuses(client, first + second[:-10], second[-10:] + third[:50], third[50:] + last)

    assert heard == [200, 200, 200, 200]
    assert await answered_from_memory(plane, "heartbeat") == before + 3


async def test_heartbeat_in_an_odd_form_is_handed_over_and_answered_once(plane: Plane, runner: Runner, client: httpx2.AsyncClient) -> None:
    before = await answered_from_memory(plane, "heartbeat")
    odd = {
        "the last one": heartbeat(runner, LAST),
        "an older version": heartbeat(runner, b"Connection: keep-alive", version=b"1.0") + END,
        "chunks": heartbeat(runner, b"Transfer-Encoding: chunked") + END,
        "a question first": heartbeat(runner, b"Expect: 100-continue") + END,
        "a query": heartbeat(runner, path=b"/api/runner/heartbeat?wait=0") + END,
        "much space": heartbeat(runner, filling=MOST_BODY_BYTES) + END,
    }

    heard = {name: await asyncio.to_thread(say, address(client), sent) for name, sent in odd.items()}

    assert {name: one.statuses.count(200) for name, one in heard.items()} == dict.fromkeys(odd, 1)
    assert [name for name, one in heard.items() if b"\r\nconnection: close\r\n" not in one.content] == []
    assert await answered_from_memory(plane, "heartbeat") == before


async def test_body_that_is_none_is_refused_after_a_head_that_was_good(runner: Runner, client: httpx2.AsyncClient) -> None:
    head, end, body = heartbeat(runner).partition(b"\r\n\r\n")

    assert await statuses(client, head + end + b"x" * len(body) + END) == [400, 404]


async def test_token_that_is_revoked_while_the_body_comes_is_refused(
    plane: Plane, acme: Organization, runner: Runner, client: httpx2.AsyncClient
) -> None:
    first, (head, end, body) = heartbeat(runner), heartbeat(runner).partition(b"\r\n\r\n")
    reader, writer = await asyncio.open_connection(*address(client))
    writer.write(first + head + end)
    assert (await reader.readline()).startswith(b"HTTP/1.1 200")

    (await acme.delete(f"/runners/{runner.id}")).raise_for_status()
    writer.write(body)
    await reader.readuntil(b"HTTP/1.1 ")
    status = await reader.readexactly(3)
    writer.close()

    assert status == b"401"


async def test_wrong_secret_is_refused_on_a_connection_that_knew_the_right_one(runner: Runner, client: httpx2.AsyncClient) -> None:
    first, right = heartbeat(runner), runner.token
    runner.token = right[:-1] + ("A" if right[-1] != "A" else "B")

    heard = await statuses(client, first, heartbeat(runner) + END)

    assert heard == [200, 401, 404]
