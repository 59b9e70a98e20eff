"""The look at a start page whose answers are hostile: what is told of it is text and nothing else."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from apviso.scanning import fetching
from apviso.scanning.first_look import Sight, look


@asynccontextmanager
async def proxy_that_answers(answer: bytes) -> AsyncIterator[str]:
    """In the place of the guard: its address. Every request gets the same answer."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield "http://{}:{}/".format(*server.sockets[0].getsockname())


async def test_look_at_a_redirect_with_terminal_commands_tells_it_without_them() -> None:
    answer = b"HTTP/1.1 302 Found\r\nLocation: http://evil.example/\x1b]0;owned\x07\x9b31m\r\nContent-Length: 0\r\n\r\n"

    async with proxy_that_answers(answer) as proxy_url:
        seen = await asyncio.to_thread(look, "http://shop.internal/", proxy_url)

    assert seen.sight is Sight.LEADS_AWAY
    assert "http://evil.example/" in seen.message
    assert seen.message.isprintable()


async def test_look_at_a_redirect_to_no_address_leads_away() -> None:
    async with proxy_that_answers(b"HTTP/1.1 302 Found\r\nLocation: http://[\r\nContent-Length: 0\r\n\r\n") as proxy_url:
        seen = await asyncio.to_thread(look, "http://shop.internal/", proxy_url)

    assert (seen.sight, seen.message) == (Sight.LEADS_AWAY, "The start page leads to an address that cannot be understood.")


async def test_look_at_a_page_that_never_ends_takes_its_beginning(monkeypatch: pytest.MonkeyPatch) -> None:
    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n<script>")
        with contextlib.suppress(OSError):
            while True:
                writer.write(b"data: x\n\n")
                await writer.drain()
                await asyncio.wait({asyncio.get_running_loop().create_future()}, timeout=0.05)
        writer.close()

    monkeypatch.setattr(fetching, "SECONDS", 0.5)
    async with await asyncio.start_server(drip, "127.0.0.1", 0) as server, asyncio.timeout(10):
        seen = await asyncio.to_thread(look, "http://shop.internal/", "http://{}:{}/".format(*server.sockets[0].getsockname()))

    assert (seen.sight, seen.has_script) == (Sight.USABLE, True)


async def test_look_at_a_refusal_with_terminal_commands_tells_it_without_them() -> None:
    answer = b"HTTP/1.1 403 Forbidden\r\nX-Guard-Refusal: no\x1b[2J\r\nContent-Length: 0\r\n\r\n"

    async with proxy_that_answers(answer) as proxy_url:
        seen = await asyncio.to_thread(look, "http://shop.internal/", proxy_url)

    assert seen.sight is Sight.REFUSED_BY_GUARD
    assert seen.message.isprintable()
