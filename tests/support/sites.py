"""Web servers of the tests: what each path answers, byte for byte, and who asked under which name."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

# The first byte of a TLS record that begins a conversation.
_HANDSHAKE = b"\x16"


@dataclass
class Site:
    """`asked` are the Host header and the path of each request. A path of `endless` never stops answering, one of `slow` never begins."""

    port: int = 0
    answers: dict[str, bytes] = field(default_factory=dict)
    endless: set[str] = field(default_factory=set)
    slow: set[str] = field(default_factory=set)
    asked: list[tuple[str, str]] = field(default_factory=list)
    over: asyncio.Event = field(default_factory=asyncio.Event)

    def serve(self, path: str, body: str | bytes, status: str = "200 OK", **headers: str) -> None:
        content = body if isinstance(body, bytes) else body.encode()
        said = {
            "Content-Length": str(len(content)),
            "Connection": "close",
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }
        lines = "".join(f"{name}: {value}\r\n" for name, value in said.items())
        self.answers[path] = f"HTTP/1.1 {status}\r\n{lines}\r\n".encode() + content

    def redirect(self, path: str, location: str) -> None:
        self.serve(path, "", "302 Found", Location=location)

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            first = await reader.readexactly(1)
            if first == _HANDSHAKE:
                return  # it speaks no TLS, and says so at once as servers do
            head = (first + await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            path = head[0].split()[1]
            host = next(line.partition(":")[2].strip() for line in head if line.lower().startswith("host:"))
            self.asked.append((host, path))
            await self._answer(path, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client has left
        finally:
            writer.close()

    async def _answer(self, path: str, writer: asyncio.StreamWriter) -> None:
        if path in self.slow:
            await self.over.wait()
            return
        if path in self.endless:
            writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
            while not self.over.is_set():
                writer.write(b"x" * 16_384)
                await writer.drain()
            return
        writer.write(self.answers.get(path, b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"))
        await writer.drain()


@asynccontextmanager
async def site(address: str = "127.0.0.1", port: int = 0, tls: ssl.SSLContext | None = None) -> AsyncIterator[Site]:
    made = Site()
    server = await asyncio.start_server(made.converse, address, port, ssl=tls)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        made.over.set()
        server.close()
        await server.wait_closed()
