"""The client over connections that break: what is sent again, in the same words, and what is not."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from apviso.client import AsyncClient, Unavailable, Unreachable, UnreadableAnswer
from apviso.protocol.targets import NewTarget, TargetPatch
from apviso.protocol.tokens import Namespace, new_token
from apviso.server.openapi_examples import TARGET_SHOWN

KEY = new_token(Namespace.API_KEY).reveal()
TARGET = b'{"target":' + TARGET_SHOWN.model_dump_json(by_alias=True).encode() + b"}"
LOST = None


def answer(status: int, body: bytes, *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status} So", f"Content-Length: {len(body)}", "Connection: close", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def busy(*headers: str) -> bytes:
    told = {"type": "/problems/overloaded", "title": "Busy", "status": 503, "detail": "Busy.", "code": "overloaded", "error": "Busy."}
    return answer(503, json.dumps(told | {"requestId": "r-1", "retryable": True}).encode(), *headers)


@asynccontextmanager
async def server_that_says(*replies: bytes | None) -> AsyncIterator[tuple[AsyncClient, list[str]]]:
    """A client of a socket that gives each request the next of these answers, or hangs up; and what it was sent."""
    said, left = list[str](), list(replies)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = next((int(line.split(":")[1]) for line in head.splitlines() if line.lower().startswith("content-length")), 0)
        said.append(head + (await reader.readexactly(length)).decode())
        reply = left.pop(0)
        if reply is not None:
            writer.write(reply)
            await writer.drain()
        writer.close()

    async with asyncio.timeout(20), await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with AsyncClient(f"http://127.0.0.1:{port}", KEY) as client:
            yield client, said


def _keys(requests: Sequence[str]) -> set[str]:
    return {line for request in requests for line in request.splitlines() if line.lower().startswith("idempotency-key")}


async def test_create_whose_answer_is_lost_is_sent_again_under_the_same_key() -> None:
    async with server_that_says(LOST, busy("Retry-After: 0"), answer(201, TARGET)) as (client, said):
        made = await client.targets.add(NewTarget(domain="a.example"))

    assert made.id == TARGET_SHOWN.id
    assert (len(said), len(_keys(said))) == (3, 1)


async def test_change_whose_answer_is_lost_is_not_sent_again() -> None:
    async with server_that_says(LOST) as (client, said):
        with pytest.raises(Unreachable):
            await client.targets.edit("t-1", TargetPatch(scan_url="http://a.example/"))

    assert len(said) == 1


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (busy(), Unavailable),
        (answer(200, b"<html>"), UnreadableAnswer),
        (answer(302, b"", "Location: http://127.0.0.1:1/"), UnreadableAnswer),
    ],
)
async def test_read_that_is_answered_by_somebody_else_is_not_sent_again(reply: bytes, kind: type[Exception]) -> None:
    async with server_that_says(reply) as (client, said):
        with pytest.raises(kind):
            await client.targets.get("t-1")

    assert len(said) == 1


async def test_read_that_a_proxy_could_not_pass_on_is_sent_again() -> None:
    async with server_that_says(answer(502, b"<html>"), answer(200, b"<html>")) as (client, said):
        with pytest.raises(UnreadableAnswer):
            await client.targets.get("t-1")

    assert len(said) == 2


async def test_stream_that_breaks_is_resumed_after_the_last_event() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
    first = head + b'id: 1\nevent: log\ndata: {"type":"log","seq":1}\n\nid: 2\nevent: log\nda'
    second = head + b'id: 2\nevent: log\ndata: {"type":"log","seq":2}\n\nevent: end\ndata: {"status":"completed"}\n\n'

    async with server_that_says(first, second) as (client, said):
        events = [event async for event in client.scans.follow("s-1")]

    assert [(event["type"], event.get("seq")) for event in events] == [("log", 1), ("log", 2), ("end", None)]
    assert "last-event-id: 1" in said[1].lower()
