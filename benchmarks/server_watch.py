"""Looks at a server from outside: its processor time and memory as the system counts them, and the live stream that it tells."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import httpx2
import psutil

MIB = 1024 * 1024


@dataclass
class Load:
    """Samples of one process: share of a core since the sample before, and resident MiB."""

    pid: int
    cores: list[float] = field(default_factory=list)
    resident: list[float] = field(default_factory=list)

    def start(self) -> None:
        """Forget what was measured before."""
        self.cores.clear()
        self.resident.clear()
        self._process = psutil.Process(self.pid)
        self._seen = (time.monotonic(), self.spent())

    def spent(self) -> float:
        times = psutil.Process(self.pid).cpu_times()
        return float(times.user + times.system)

    def memory(self) -> float:
        return float(psutil.Process(self.pid).memory_info().rss) / MIB

    def sample(self) -> None:
        at, spent = time.monotonic(), self.spent()
        self.cores.append((spent - self._seen[1]) / (at - self._seen[0]))
        self._seen = (at, spent)
        self.resident.append(self.memory())

    @property
    def growth(self) -> float:
        """MiB between the medians of the first and the last fifth of the samples."""
        fifth = max(1, len(self.resident) // 5)
        return median(self.resident[-fifth:]) - median(self.resident[:fifth])


@dataclass
class Stream:
    """The events of the organization by type and runner, read until it is cancelled; `cuts` counts how often it was cut off."""

    url: str
    api_key: str
    seen: Counter[tuple[str, str]] = field(default_factory=Counter)
    cuts: int = 0
    _last: str = ""

    async def follow(self) -> None:
        async with httpx2.AsyncClient(trust_env=False, timeout=httpx2.Timeout(60)) as client:
            while True:
                try:
                    await self._read(client)
                except httpx2.TransportError:
                    self.cuts += 1
                await asyncio.sleep(1)

    async def _read(self, client: httpx2.AsyncClient) -> None:
        resume = {"Last-Event-ID": self._last} if self._last else {}
        async with client.stream("GET", f"{self.url}/api/v1/events", headers={"X-API-Key": self.api_key, **resume}) as answer:
            answer.raise_for_status()
            async for line in answer.aiter_lines():
                if line.startswith("id: "):
                    self._last = line[4:]
                elif line.startswith("data: "):
                    self._note(json.loads(line[6:]))

    def _note(self, told: dict[str, Any]) -> None:
        if "runnerId" in told:
            self.seen[told["type"], told["runnerId"]] += 1

    def of(self, type: str) -> dict[str, int]:
        """How often each runner was named by an event of this type."""
        return {runner_id: times for (seen, runner_id), times in self.seen.items() if seen == type}
