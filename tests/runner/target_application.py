"""A small application under test on loopback: answers every path, echoes the credentials it was sent, remembers what it was asked."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field


@dataclass
class TargetApplication:
    url: str = ""
    status: int = 200
    redirects: dict[str, str] = field(default_factory=dict)
    bodies: dict[str, bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    authorizations: list[str] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                method, path, _ = head.split("\r\n")[0].split(" ")
                sent = next(
                    (line.partition(":")[2].strip() for line in head.split("\r\n") if line.lower().startswith("authorization:")), ""
                )
                self.asked.append(f"{method} {path}")
                self.authorizations.append(sent)
                body = f"hello {sent}".encode() if path == "/echo" else self.bodies.get(path, b"hello")
                location = self.redirects.get(path)
                status = f"302 Found\r\nlocation: {location}" if location else f"{self.status} Ok"
                writer.write(f"HTTP/1.1 {status}\r\ncontent-length: {len(body)}\r\n\r\n".encode() + (b"" if method == "HEAD" else body))
                await writer.drain()
        writer.close()


@asynccontextmanager
async def target_application() -> AsyncIterator[TargetApplication]:
    application = TargetApplication()
    server = await asyncio.start_server(application.serve, "127.0.0.1", 0)
    application.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    try:
        yield application
    finally:
        server.close()
