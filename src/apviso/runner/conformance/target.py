"""A small target on loopback for one trial: answers, keeps silent, or is not there. Remembers which paths it was asked for."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import Enum, auto

_READ_SECONDS = 30.0
_MOST_PATHS = 1000
# What a scanner finds there: pages, a form, and two ways out that the rules exclude.
_PAGE = b"""<!doctype html><html><head><title>Practice target</title></head><body><h1>Practice target</h1>
<a href="about">about</a> <a href="list?page=1">list</a> <a href="logout">log out</a> <a href="http://192.0.2.1/">elsewhere</a>
<form action="search" method="get"><input name="q"><input type="submit"></form></body></html>
"""
_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s"


class Manner(Enum):
    ANSWERS = auto()
    SILENT = auto()
    DOWN = auto()


class PracticeTarget:
    """`asked` is set by the first request."""

    def __init__(self, port: int, manner: Manner) -> None:
        self.port = port
        self.asked = asyncio.Event()
        self.paths: list[str] = []
        self._manner = manner

    async def serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            async with asyncio.timeout(_READ_SECONDS):
                head = await reader.readuntil(b"\r\n\r\n")
            self._remember(head)
            if self._manner is Manner.SILENT:
                await reader.read()
            else:
                writer.write(_ANSWER % (len(_PAGE), b"" if head.startswith(b"HEAD ") else _PAGE))
                await writer.drain()
        writer.close()

    def _remember(self, head: bytes) -> None:
        words = head.split(b" ", 2)
        if len(words) == 3 and len(self.paths) < _MOST_PATHS:
            self.paths.append(words[1].decode("latin-1"))
        self.asked.set()


@asynccontextmanager
async def practice_target(manner: Manner) -> AsyncIterator[PracticeTarget]:
    """On a free port. One that is down holds its port without listening, so that nobody else answers there."""
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        target = PracticeTarget(door.getsockname()[1], manner)
        if manner is Manner.DOWN:
            yield target
            return
        server = await asyncio.start_server(target.serve, sock=door)
        try:
            yield target
        finally:
            server.close()
