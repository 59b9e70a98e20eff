"""Heartbeats of a whole fleet at its pace, beside something else: how long one waits tells how long the server answered nobody."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count, cycle

import uvloop

from benchmarks.connection import Broken, Connection
from benchmarks.heartbeats import heartbeat
from benchmarks.load import SEQUENCE
from benchmarks.seeding import Enrolled

# One connection alone would see nothing while its own heartbeat waits.
CONNECTIONS = 8
INTERVAL_SECONDS = 15.0
ANSWER_SECONDS = 30.0
_FIRST = 10 ** (len(SEQUENCE) - 1)


class Beating:
    """In a thread of its own. `waits` are moments of the monotonic clock at which one was sent, with the seconds until its answer."""

    def __init__(self, port: int, runners: Sequence[Enrolled]) -> None:
        self._port = port
        self._requests = cycle([heartbeat(runner) for runner in runners])
        self._apart = INTERVAL_SECONDS / len(runners)
        self._numbers = count(_FIRST)
        self._is_over = threading.Event()
        self.waits: list[tuple[float, float]] = []
        self.failed = 0

    def longest(self, since: float, until: float) -> float:
        """Of those that were under way between the two moments."""
        return max((took for began, took in self.waits if began <= until and began + took >= since), default=0.0)

    async def run(self) -> None:
        self._next_at = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for _ in range(CONNECTIONS):
                group.create_task(self._beat())

    async def _beat(self) -> None:
        connection = await Connection.open(self._port, "127.0.0.1")
        while not self._is_over.is_set():
            self._next_at = max(self._next_at + self._apart, time.monotonic() - INTERVAL_SECONDS)
            await asyncio.sleep(max(0.0, self._next_at - time.monotonic()))
            text = next(self._requests).replace(SEQUENCE.encode(), str(next(self._numbers)).encode())
            began = time.monotonic()
            try:
                if not connection.is_open:
                    connection = await Connection.open(self._port, "127.0.0.1")
                answer = await connection.ask(text, ANSWER_SECONDS)
                self.failed += answer.status >= 300
            except Broken:
                self.failed += 1
            self.waits.append((began, time.monotonic() - began))
        connection.abort()

    def stop(self) -> None:
        self._is_over.set()


@contextmanager
def beating(port: int, runners: Sequence[Enrolled]) -> Iterator[Beating]:
    made = Beating(port, runners)
    thread = threading.Thread(target=lambda: uvloop.run(made.run()), name="heartbeats")
    thread.start()
    try:
        yield made
    finally:
        made.stop()
        thread.join(ANSWER_SECONDS)
