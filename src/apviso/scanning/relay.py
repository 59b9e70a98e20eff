"""Carries bytes between a port and a socket file: how a scan without a network reaches its guard. Looks at nothing it carries."""

from __future__ import annotations

import asyncio
import contextlib
import os
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

# As many as the guard lets wait; more is a scan that no longer waits for answers.
MAX_CONNECTIONS = 256
CONNECT_SECONDS = 10.0
_CHUNK_BYTES = 64 * 1024

Dial = Callable[[], Awaitable[tuple[StreamReader, StreamWriter]]]


@asynccontextmanager
async def from_port(port: int, socket_file: str, most: int = MAX_CONNECTIONS) -> AsyncIterator[None]:
    """Inside the scan: whoever connects to `port` of this loopback speaks with whoever listens at `socket_file`.

    Beyond `most` at the same time they are turned away.
    """
    relay = _Relay(lambda: asyncio.open_unix_connection(socket_file), most)
    async with _serving(await asyncio.start_server(relay.carry, "127.0.0.1", port), relay):
        yield


@asynccontextmanager
async def from_socket(socket_file: Path, port: int) -> AsyncIterator[None]:
    """Beside the guard: whoever connects to `socket_file` speaks with `port` of this host's loopback.

    The file lets every account connect, because the scan has one of its own; the folder above it must keep the others out.
    """
    relay = _Relay(lambda: asyncio.open_connection("127.0.0.1", port), MAX_CONNECTIONS)
    with _short_name(socket_file) as name:
        server = await asyncio.start_unix_server(relay.carry, name)
        os.chmod(name, 0o666)  # noqa: PTH101, S103 - see above
    try:
        async with _serving(server, relay):
            yield
    finally:
        socket_file.unlink(missing_ok=True)  # noqa: ASYNC240 - a socket file


@contextmanager
def _short_name(socket_file: Path) -> Iterator[str]:
    """A name of the file that fits into a socket address, which holds about a hundred characters only."""
    folder = os.open(socket_file.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{socket_file.name}"
    finally:
        os.close(folder)


@asynccontextmanager
async def _serving(server: asyncio.Server, relay: _Relay) -> AsyncIterator[None]:
    try:
        yield
    finally:
        server.close()
        await relay.cut()


class _Relay:
    def __init__(self, dial: Dial, most: int) -> None:
        self._dial = dial
        self._most = most
        self._open: dict[StreamWriter, asyncio.Task[None]] = {}

    async def carry(self, reader: StreamReader, writer: StreamWriter) -> None:
        """One connection, both ways, until both sides have ended or the relay is cut."""
        task = asyncio.current_task()
        if task is None or len(set(self._open.values())) >= self._most:
            writer.close()
            return
        async with self._kept(writer, task):
            try:
                async with asyncio.timeout(CONNECT_SECONDS):
                    far_reader, far_writer = await self._dial()
            except (OSError, TimeoutError):
                return
            async with self._kept(far_writer, task):
                await asyncio.gather(_pump(reader, far_writer), _pump(far_reader, writer))

    @asynccontextmanager
    async def _kept(self, writer: StreamWriter, task: asyncio.Task[None]) -> AsyncIterator[None]:
        self._open[writer] = task
        try:
            yield
        finally:
            del self._open[writer]
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def cut(self) -> None:
        """What is open ends at once; the tasks that carry it end with it."""
        tasks = set(self._open.values())
        for writer in list(self._open):
            writer.transport.abort()
        if tasks:
            await asyncio.wait(tasks, timeout=CONNECT_SECONDS)


async def _pump(reader: StreamReader, writer: StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while chunk := await reader.read(_CHUNK_BYTES):
            writer.write(chunk)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()
