"""One runner of a simulated fleet: heartbeats as often as it is told to, and one long poll for jobs after the other. Runs no scan."""

from __future__ import annotations

import asyncio
import json
import random
import time
from array import array
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from apviso.runner.backoff import Patience
from benchmarks.connection import Answer, Broken, Connection, post
from benchmarks.seeding import Enrolled, said

WAIT_SECONDS = 20
PATIENCE_SECONDS = 30.0
# As the runner's own HTTP client: an unused connection is kept this long, unless the server closes it earlier.
IDLE_SECONDS = 30.0


@dataclass
class Tally:
    """What a fleet has seen. Durations are seconds, and only of the calls that end while it `is_counting`; failures count always."""

    is_counting: bool = False
    beats: array[float] = field(default_factory=lambda: array("d"))
    polls: array[float] = field(default_factory=lambda: array("d"))
    connections: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    samples: dict[str, str] = field(default_factory=dict)
    not_accepting: Counter[str] = field(default_factory=Counter)

    def fail(self, call: str, what: str, sample: str = "") -> None:
        self.failures[f"{call}: {what}"] += 1
        self.samples.setdefault(f"{call}: {what}", sample[:300])


# Gets the runner's number and the claim's answer, which holds a job.
OnJob = Callable[[int, dict[str, Any]], None]


class SimulatedRunner:
    """`source` is its address in the loopback network."""

    def __init__(self, runner: Enrolled, port: int, tally: Tally, on_job: OnJob | None = None, idle_seconds: float = IDLE_SECONDS) -> None:
        self.runner = runner
        self._port, self._tally, self._on_job, self._idle_seconds = port, tally, on_job, idle_seconds
        self._source = f"127.0.0.{2 + runner.number % 8}"
        self._beats = 0
        self._polled_at = time.monotonic()
        self._interval = 15.0
        self._patience = Patience()
        self._is_heard = False
        self._beating: Connection | None = None
        self._polling: Connection | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self.has_polled = asyncio.Event()

    async def start(self) -> None:
        """The first heartbeat that is taken, then both loops."""
        seconds = await self._beat()
        while not self._is_heard:
            await asyncio.sleep(seconds)
            seconds = await self._beat()
        self._tasks = [asyncio.create_task(self._beat_again_and_again()), asyncio.create_task(self._poll_again_and_again())]

    def vanish(self) -> None:
        """Stop as a host does that loses its power."""
        for task in self._tasks:
            task.cancel()
        for connection in (self._beating, self._polling):
            if connection is not None:
                connection.abort()

    async def _beat_again_and_again(self) -> None:
        seconds = self._interval * random.uniform(0, 1.1)
        while True:
            await asyncio.sleep(seconds)
            seconds = await self._beat()

    async def _beat(self) -> float:
        """The seconds until the next."""
        self._beats += 1
        began = time.perf_counter()
        try:
            self._beating = await self._connected(self._beating)
            answer = await self._beating.ask(post("/api/runner/heartbeat", self.runner.token, self._body()), PATIENCE_SECONDS)
        except Broken as error:
            self._tally.fail("heartbeat", str(error))
            return min(self._patience.next_delay(), self._interval)
        if self._tally.is_counting:
            self._tally.beats.append(time.perf_counter() - began)
        asyncio.get_running_loop().call_later(self._idle_seconds, self._let_go, self._beating, self._beats)
        if answer.status != 200:
            self._tally.fail("heartbeat", str(answer.status), answer.body.decode(errors="replace"))
            return max(min(self._patience.next_delay(answer.retry_after), self._interval), answer.retry_after or 0)
        self._is_heard = True
        self._patience.reset()
        self._interval = json.loads(answer.body)["heartbeatIntervalMs"] / 1000
        return self._interval * random.uniform(0.9, 1.1)

    def _let_go(self, connection: Connection, beats: int) -> None:
        if self._beats == beats and self._beating is connection:
            connection.abort()

    def _body(self) -> bytes:
        polled_ms_ago = int((time.monotonic() - self._polled_at) * 1000)
        return json.dumps(said(self.runner.number, self._beats, more_bytes=self._beats, polled_ms_ago=polled_ms_ago)).encode()

    async def _poll_again_and_again(self) -> None:
        number, patience = 0, Patience()
        while True:
            number += 1
            body = json.dumps({"nonce": f"nonce-{self.runner.number}-{number}", "freeSlots": 1}).encode()
            began, self._polled_at = time.perf_counter(), time.monotonic()
            try:
                self._polling = await self._connected(self._polling)
                request = post(f"/api/runner/jobs/claim?wait={WAIT_SECONDS}", self.runner.token, body)
                answer = await self._polling.ask(request, WAIT_SECONDS + PATIENCE_SECONDS)
            except Broken as error:
                self._tally.fail("claim", str(error))
                await asyncio.sleep(patience.next_delay())
                continue
            if answer.status == 200:
                patience.reset()
                self._take(answer, time.perf_counter() - began)
            else:
                self._tally.fail("claim", str(answer.status), answer.body.decode(errors="replace"))
                await asyncio.sleep(patience.next_delay(answer.retry_after))

    def _take(self, answer: Answer, seconds: float) -> None:
        self.has_polled.set()
        if self._tally.is_counting:
            self._tally.polls.append(seconds)
        told = json.loads(answer.body)
        if told.get("notAccepting"):
            self._tally.not_accepting[told["notAccepting"]] += 1
        if told["job"] is not None and self._on_job is not None:
            self._on_job(self.runner.number, told)

    async def _connected(self, connection: Connection | None) -> Connection:
        if connection is not None and connection.is_open:
            return connection
        self._tally.connections += 1
        return await Connection.open(self._port, self._source)
