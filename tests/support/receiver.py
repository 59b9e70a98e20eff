"""A receiver of webhooks on a real socket, which answers as a test says: in order, late, wrongly, or not at all."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

SECONDS = 10
OK = b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n"
# Answers that are none.
CLOSES, NEVER = b"closes", b"never"


def status(code: int, **headers: str) -> bytes:
    lines = [f"HTTP/1.1 {code} Said", "Connection: close", "Content-Length: 0", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode()


@dataclass(frozen=True)
class Received:
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def type(self) -> str:
        return str(json.loads(self.body)["type"])

    @property
    def data(self) -> dict[str, Any]:
        told: dict[str, Any] = json.loads(self.body)["data"]
        return told


@dataclass
class Receiver:
    """Gives `answers` one after the other, then takes everything."""

    scheme: str
    port: int = 0
    answers: list[bytes] = field(default_factory=list)
    # The first answer at a path of its own.
    answers_at: dict[str, bytes] = field(default_factory=dict)
    received: asyncio.Queue[Received] = field(default_factory=asyncio.Queue)
    connections: int = 0

    def url(self, host: str = "127.0.0.1", path: str = "/hook") -> str:
        return f"{self.scheme}://{host}:{self.port}{path}"

    async def next(self) -> Received:
        async with asyncio.timeout(SECONDS):
            return await self.received.get()

    async def take(self, number: int) -> list[Received]:
        return [await self.next() for _ in range(number)]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
            body = await reader.readexactly(int(headers.get("content-length", 0)))
            path = head[0].split()[1]
            answer = self.answers_at.pop(path, None) or (self.answers.pop(0) if self.answers else OK)
            self.received.put_nowait(Received(path, headers, body))
            if answer is NEVER:
                await reader.read()
            elif answer is not CLOSES:
                writer.write(answer)
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def receiving(tls: ssl.SSLContext | None = None) -> AsyncIterator[Receiver]:
    receiver = Receiver("http" if tls is None else "https")
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0, ssl=tls)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        server.close()
