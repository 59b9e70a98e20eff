"""A kept HTTP connection for many simulated clients in one process: one request at a time, a callback instead of streams."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import cast


@dataclass(frozen=True)
class Answer:
    """`retry_after`: the seconds that a refusal asks to wait."""

    status: int
    body: bytes
    retry_after: float | None = None


class Broken(Exception):
    """There was no answer; the message says what came instead."""


class Connection(asyncio.Protocol):
    """Bodies have a length; an answer without one is Broken."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._unread = b""
        self._wanted: asyncio.Future[Answer] | None = None
        self.is_open = False

    @classmethod
    async def open(cls, port: int, source: str, seconds: float = 10) -> Connection:
        """From the address `source` of the loopback network. Raises Broken."""
        try:
            async with asyncio.timeout(seconds):
                _, made = await asyncio.get_running_loop().create_connection(cls, "127.0.0.1", port, local_addr=(source, 0))
        except (OSError, TimeoutError) as error:
            raise Broken(f"not connected: {type(error).__name__}") from error
        return made

    async def ask(self, request: bytes, seconds: float) -> Answer:
        """Raises Broken where the connection ends first, or the time."""
        if self._transport is None or not self.is_open:
            raise Broken("closed before the request")
        self._wanted = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        try:
            async with asyncio.timeout(seconds):
                return await self._wanted
        except TimeoutError as error:
            self.abort()
            raise Broken(f"no answer within {seconds:.0f} s") from error
        finally:
            self._wanted = None

    def abort(self) -> None:
        """As if the host had lost its power."""
        self.is_open = False
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's is one without saying so.
        self._transport, self.is_open = cast(asyncio.Transport, transport), True

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_open = False
        self._transport = None
        self._fail("closed during the request")

    def data_received(self, data: bytes) -> None:
        self._unread += data
        head, end, rest = self._unread.partition(b"\r\n\r\n")
        if not end:
            return
        length = _number(head, b"content-length")
        if length is None:
            self._fail("an answer without a length")
            self.abort()
        elif len(rest) >= length:
            self._unread = rest[length:]
            if self._wanted is not None and not self._wanted.done():
                status = int(head[9:12])
                asked = _number(head, b"retry-after") if status >= 400 else None
                self._wanted.set_result(Answer(status, rest[:length], asked))

    def _fail(self, what: str) -> None:
        if self._wanted is not None and not self._wanted.done():
            self._wanted.set_exception(Broken(what))


def _number(head: bytes, wanted: bytes) -> int | None:
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.lower() == wanted and value.strip().isdigit():
            return int(value)
    return None


def post(path: str, token: str, body: bytes) -> bytes:
    """A request with a JSON body and a bearer token."""
    head = f"POST {path} HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\n"
    return head.encode() + b"Content-Length: %d\r\n\r\n" % len(body) + body
