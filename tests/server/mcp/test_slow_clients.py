"""The socket of `apviso mcp --http`, spoken to in bytes: nobody who is slow, silent or endless holds anything up."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import uvicorn

from apviso.connections import Bounds
from apviso.mcp.door import Application, Door, Message, Receive, Send
from apviso.mcp.place import Place
from apviso.mcp.running import BOUNDS, MAX_BODY_BYTES, configured, listen
from tests.support.raw import Address, is_cut_off, outlast, say

NARROW = Bounds(head_seconds=0.5, head_bytes=4096, body_seconds=0.5, stalled_seconds=0.5, connections=16)
SECONDS = 30
TOKEN = b"Authorization: Bearer secret\r\n"
HEAD = b"POST /mcp HTTP/1.1\r\nHost: x\r\n"
HONEST = HEAD + TOKEN + b"Connection: close\r\nContent-Length: 2\r\n\r\n{}"
MUCH = b"x" * 1024 * 1024


async def reads_and_answers(_: Message, receive: Receive, send: Send) -> None:
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(MUCH))]})
    await send({"type": "http.response.body", "body": MUCH})


@contextmanager
def served(application: Application) -> Iterator[Address]:
    config = configured(Door(application, "secret", MAX_BODY_BYTES), NARROW)
    config.lifespan = "off"
    server, listener = uvicorn.Server(config), listen(Place("127.0.0.1", 0))
    thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[:2]
    finally:
        server.should_exit = True
        thread.join(SECONDS)


@pytest.fixture(scope="module")
def address() -> Iterator[Address]:
    with served(reads_and_answers) as place:
        yield place


def test_client_of_an_assistants_server_that_is_slow_or_silent_is_closed_and_others_are_served(address: Address) -> None:
    length = b"Content-Length: 100000\r\n\r\n"

    heard = outlast(
        address,
        {
            "silence": (b"", b""),
            "head": (HEAD + b"X: ", b"y"),
            "fields": (HEAD, b"X: y\r\n"),
            "body": (HEAD + TOKEN + length, b" "),
            "body without the token": (HEAD + length, b" "),
            "chunks": (HEAD + TOKEN + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
            "head without an end": (HEAD + b"X: ", b"y" * 4096),
        },
    )

    assert say(address, HONEST).statuses == [200]
    assert {name: one.statuses for name, one in heard.items() if one.statuses} == {"head without an end": [400]}
    assert b'{"error": "The request line and the headers are larger than 4096 bytes."}' in heard["head without an end"].content


def test_client_of_an_assistants_server_that_takes_nothing_of_its_answers_is_cut_off(address: Address) -> None:
    assert is_cut_off(address, HONEST.replace(b"Connection: close\r\n", b"") * 40)


def test_bounds_of_an_assistants_server_are_those_it_is_served_with() -> None:
    bounded = configured(Door(reads_and_answers, "secret", MAX_BODY_BYTES)).http

    assert getattr(bounded, "bounds", None) == BOUNDS
