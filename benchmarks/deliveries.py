"""`python -m benchmarks.deliveries`: how many messages a second come to receivers of webhooks, also beside slow ones."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

import httpx2
import psutil

from apviso.protocol.wire import OrganizationId
from apviso.server.db.engine import Database
from apviso.server.signals import Signals
from apviso.server.stream import store as stream
from benchmarks.plant import UNLIMITED, Plant, end_in_order, plant
from tests.support.postgres import postgres_server

ON_LOOPBACK = UNLIMITED | {"APVISO_WEBHOOK_ALLOWED_NETWORKS": '["127.0.0.0/8"]', "APVISO_WEBHOOK_ALLOW_HTTP": "true"}
EVENT = "finding.created"
BATCH = 500
PATIENCE_SECONDS = 600
TAKEN = b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n"


@dataclass
class Receiver:
    """Takes every message at once, or holds each until the sender gives up."""

    is_slow: bool
    moments: list[float] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length"))
            await reader.readexactly(length)
            self.moments.append(time.monotonic())
            if self.is_slow:
                await reader.read()
            else:
                writer.write(TAKEN)
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def receiving(receiver: Receiver) -> AsyncIterator[str]:
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook"
    finally:
        server.close()


async def tell(database_url: str, organization_id: str, events: int) -> None:
    """Put so many events on the live stream of the organization, each about a scan of its own."""
    database = Database(database_url, lambda: datetime.now(UTC), Signals())
    try:
        for first in range(0, events, BATCH):
            async with database.writing() as work:
                for number in range(first, min(first + BATCH, events)):
                    stream.publish(work, OrganizationId(organization_id), EVENT, scanId=f"scan-{number}", title="A flaw", severity="high")
    finally:
        await database.close()


def cpu_seconds(process: psutil.Process) -> float:
    """What it has computed: on a machine that does other things too, this says more than a rate."""
    times = process.cpu_times()
    return times.user + times.system


async def measure(ready: Plant, quick: int, slow: int, events: int) -> None:
    """The events happen while the server is away, so that it has all of them to send at once."""
    receivers = [Receiver(is_slow=False) for _ in range(quick)] + [Receiver(is_slow=True) for _ in range(slow)]
    headers = {"X-API-Key": ready.api_key}
    await asyncio.to_thread(ready.serve)
    async with addresses_of(receivers) as urls, httpx2.AsyncClient(base_url=f"{ready.url}/api/v1", headers=headers) as client:
        # The slow ones first: their messages are the older ones.
        made = [await client.post("/webhooks", json={"url": url, "events": [EVENT]}) for url in reversed(urls)]
        assert ready.server is not None
        await asyncio.to_thread(ready.server.stop)
        await tell(ready.effective_url, ready.organization_id, events)
        server = psutil.Process(await asyncio.to_thread(ready.serve))
        began, wanted, before = time.monotonic(), receivers[:quick], cpu_seconds(server)
        while any(len(one.moments) < events for one in wanted):
            assert time.monotonic() - began < PATIENCE_SECONDS, [len(one.moments) for one in receivers]
            await asyncio.sleep(0.05)
        moments = sorted(moment for one in wanted for moment in one.moments)
        rate, cost = len(moments) / (moments[-1] - moments[0]), (cpu_seconds(server) - before) / len(moments)
        told = f"{rate:6.0f} messages a second, {cost * 1000:.1f} ms of the server's time each"
        print(f"{quick:>3} receivers, {slow:>2} slow ones beside them: {told}", flush=True)
        for answer in made:
            await client.delete(f"/webhooks/{answer.json()['webhook']['id']}")
    await asyncio.to_thread(ready.server.stop)


@asynccontextmanager
async def addresses_of(receivers: Sequence[Receiver]) -> AsyncIterator[list[str]]:
    """The addresses of all of them."""
    if not receivers:
        yield []
        return
    async with receiving(receivers[0]) as first, addresses_of(receivers[1:]) as others:
        yield [first, *others]


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.deliveries", description=__doc__)
    parser.add_argument("--events", type=int, default=1000)
    parser.add_argument("--postgres", action="store_true", help="on a PostgreSQL of its own; SQLite unless told otherwise")
    told = parser.parse_args(words)
    end_in_order()
    with ExitStack() as stack:
        url = ""
        if told.postgres:
            postgres = stack.enter_context(postgres_server())
            url = postgres.url(stack.enter_context(postgres.database()))
        ready = stack.enter_context(plant(0, ON_LOOPBACK, url))
        kind = "PostgreSQL" if url else "SQLite"
        print(f"{told.events} events on {kind}; {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}", flush=True)
        for quick, slow in ((1, 0), (10, 0), (1, 1), (4, 16)):
            asyncio.run(measure(ready, quick, slow, told.events))
    return 0


if __name__ == "__main__":
    sys.exit(main())
