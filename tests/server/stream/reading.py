"""Reads server-sent events as a browser would, with a deadline on every one."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx2

SECONDS = 10


@dataclass(frozen=True)
class Event:
    id: str | None
    type: str
    data: Any


class Stream:
    def __init__(self, lines: AsyncIterator[str]) -> None:
        self._lines = lines

    async def next(self) -> Event:
        """The next event; comments and `retry` are passed over."""
        found: dict[str, str] = {}
        async with asyncio.timeout(SECONDS):
            async for line in self._lines:
                name, colon, value = line.partition(": ")
                if colon and name in ("id", "event", "data"):
                    found[name] = value
                elif not line and "data" in found:
                    return Event(found.get("id"), found["event"], json.loads(found["data"]))
        raise EOFError

    async def take(self, number: int) -> list[Event]:
        return [await self.next() for _ in range(number)]

    async def rest(self) -> list[Event]:
        """Every event until the server ends the stream."""
        events = []
        while True:
            try:
                events.append(await self.next())
            except EOFError:
                return events

    async def connected(self) -> None:
        """Wait for the greeting: what happens from here on will be told."""
        async with asyncio.timeout(SECONDS):
            async for line in self._lines:
                if line == ": connected":
                    return


@asynccontextmanager
async def following(client: httpx2.AsyncClient, path: str, key: str, **headers: str) -> AsyncIterator[Stream]:
    sent = {"X-API-Key": key, "accept": "text/event-stream", **headers}
    async with client.stream("GET", path, headers=sent) as answer:
        assert answer.status_code == 200, await answer.aread()
        assert answer.headers["content-type"].startswith("text/event-stream")
        yield Stream(answer.aiter_lines())
