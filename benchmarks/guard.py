"""What a request costs more when it goes through the guard: kept connections, one and eight, beside the same requests made directly."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

from apviso.scanning import environment
from apviso.scanning.guard import AllowedHost, GuardRules, start_guard
from benchmarks.loopback_server import BODY
from benchmarks.measuring import Contestant, Row, interleaved

ROUNDS = 15
# Enough of each for about a second.
REQUESTS, DIRECT_REQUESTS = 400, 8_000
CONNECTIONS = (1, 8)
SECONDS = 120.0


async def rows() -> list[Row]:
    """None where the scanners' environment, which holds the guard's proxy, is not installed."""
    status = environment.status(environment.default_dir())
    if status.problem is not None:
        print(f"guard: left out, {status.problem} {status.fix}\n")
        return []
    with TemporaryDirectory(prefix="bench-") as folder:
        async with _target() as port:
            guard = await start_guard(_rules(port), environment.default_dir(), Path(folder), permit_seconds=3600)
            try:
                return [await _compared(count, port, urlsplit(guard.proxy_url).port or 0) for count in CONNECTIONS]
            finally:
                await guard.close()


def _rules(port: int) -> GuardRules:
    """Rules that hold nothing back, so that what is measured is the way through."""
    return GuardRules(
        scan_id="bench",
        allowed=[AllowedHost(scheme="http", host="127.0.0.1", port=port)],
        methods=["GET"],
        requests_per_second=1_000_000,
        max_requests=1_000_000,
        exclude_paths=["logout"],
    )


@asynccontextmanager
async def _target() -> AsyncIterator[int]:
    """The port of a server in a process of its own."""
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "benchmarks.loopback_server", stdin=PIPE, stdout=PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield json.loads(await asyncio.wait_for(process.stdout.readline(), 30))["listening"]
    finally:
        process.stdin.close()
        await asyncio.wait_for(process.wait(), 30)


async def _compared(connections: int, port: int, guard_port: int) -> Row:
    ours, plain = await interleaved(
        ROUNDS, _requests(REQUESTS, guard_port, port, connections), _requests(DIRECT_REQUESTS, port, port, connections)
    )
    said = "connection" if connections == 1 else "connections"
    return Row(f"a request through the guard, over {connections} kept {said}", "the same request directly", ours, plain)


def _requests(number: int, by_port: int, port: int, connections: int) -> Contestant:
    """Seconds for one request, when so many of them are made over so many connections at a time."""
    # In absolute form, as clients write to a proxy; a server has to take it, too.
    request = f"GET http://127.0.0.1:{port}/page?q=1 HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode()

    async def run() -> float:
        async with asyncio.timeout(SECONDS):
            opened = [await asyncio.open_connection("127.0.0.1", by_port) for _ in range(connections)]
            await asyncio.gather(*(_ask(reader, writer, request, 1) for reader, writer in opened))
            began = time.perf_counter()
            await asyncio.gather(*(_ask(reader, writer, request, number // connections) for reader, writer in opened))
            seconds = time.perf_counter() - began
            for _, writer in opened:
                writer.close()
            return seconds / number

    return run


async def _ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes, times: int) -> None:
    for _ in range(times):
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 "), head
        assert await reader.readexactly(len(BODY)) == BODY
