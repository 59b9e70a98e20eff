"""`python -m benchmarks.start_to_claim`: from the start of a scan to the job in the hands of one of many waiting runners."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from statistics import quantiles
from typing import Any

import uvloop

from benchmarks.asgi_constant import constant_server
from benchmarks.connection import Connection, post
from benchmarks.fleet import DURABLE, STARTS_PER_SECOND, Fleet, connect
from benchmarks.plant import UNLIMITED, Plant, end_in_order, plant
from benchmarks.server_watch import Load
from benchmarks.simulated_runner import Tally
from tests.support.postgres import postgres_server

SECONDS = 30.0
TARGETS = 50
WARM_UP = 20


@dataclass
class Hands:
    """Where jobs arrive: for each scan when, and at which runner."""

    arrivals: dict[str, tuple[float, int, dict[str, Any]]] = field(default_factory=dict)
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def take(self, number: int, told: dict[str, Any]) -> None:
        self.arrivals[told["job"]["scan"]["id"]] = (time.perf_counter(), number, told["job"])
        self.news.set()

    async def wait(self, scan_id: str) -> tuple[float, int, dict[str, Any]]:
        async with asyncio.timeout(SECONDS):
            while scan_id not in self.arrivals:
                self.news.clear()
                await self.news.wait()
        return self.arrivals.pop(scan_id)


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.start_to_claim", description=__doc__)
    parser.add_argument("--runners", type=int, default=1000)
    parser.add_argument("--scans", type=int, default=500)
    parser.add_argument("--postgres", action="store_true", help="start a PostgreSQL for it; SQLite unless told otherwise")
    told = parser.parse_args(words)
    end_in_order()
    with ExitStack() as stack:
        postgres = stack.enter_context(postgres_server(**DURABLE)) if told.postgres else None
        url = postgres.url(stack.enter_context(postgres.database())) if postgres else ""
        ready = stack.enter_context(plant(told.runners, UNLIMITED, url))
        print(f"{told.runners} runners on {'PostgreSQL' if url else 'SQLite'}; load {os.getloadavg()[0]:.1f}", flush=True)
        plain_port, _ = stack.enter_context(constant_server())
        return uvloop.run(_run(ready, told.scans, plain_port))


async def _run(ready: Plant, scans: int, plain_port: int) -> int:
    load = Load(await asyncio.to_thread(ready.serve))
    fleet, hands = Fleet(ready, load, Tally()), Hands()
    await connect(fleet, len(ready.runners) / STARTS_PER_SECOND, hands.take)
    api, daemon = await Connection.open(ready.port, "127.0.0.1"), await Connection.open(ready.port, "127.0.0.1")
    targets = [await _add_target(ready, api, number) for number in range(TARGETS)]
    # What the machine does to any answer at the same moments.
    plain = await Connection.open(plain_port, "127.0.0.1")
    noise, answered, claimed = [], [], []
    for number in range(WARM_UP + scans):
        await asyncio.sleep(random.uniform(0.02, 0.06))
        asked = time.perf_counter()
        await plain.ask(post("/", "", b"{}"), SECONDS)
        noise.append(time.perf_counter() - asked)
        to_answer, to_claim = await _one(ready, api, daemon, targets[number % TARGETS], hands)
        if number >= WARM_UP:
            answered.append(to_answer)
            claimed.append(to_claim)
    for runner in fleet.runners:
        runner.vanish()
    print(f"start of a scan to its answer                      {_shown(answered)}")
    print(f"start of a scan to the job in a runner's hands     {_shown(claimed)}")
    print(f"a constant answer of plain ASGI, at these moments   {_shown(noise)}")
    failures = dict(fleet.tally.failures)
    print(f"{scans} scans; failed calls of the fleet: {failures or 'none'}; load {os.getloadavg()[0]:.1f}")
    return 1 if failures else 0


async def _one(ready: Plant, api: Connection, daemon: Connection, target_id: str, hands: Hands) -> tuple[float, float]:
    """Start a scan, wait until a runner has it, and end it."""
    body = json.dumps({"targetId": target_id, "modelPreset": "free"}).encode()
    began = time.perf_counter()
    answer = await api.ask(post("/api/v1/scans", ready.api_key, body), SECONDS)
    to_answer = time.perf_counter() - began
    assert answer.status == 201, answer
    at, number, job = await hands.wait(json.loads(answer.body)["scan"]["id"])
    finish = {"attempt": job["job"]["attempt"], "status": "failed", "endReason": "target_unreachable", "lastSeq": 0}
    path, token = f"/api/runner/jobs/{job['job']['id']}/finish", ready.runners[number].token
    ended = await daemon.ask(post(path, token, json.dumps(finish).encode()), SECONDS)
    assert ended.status == 200, ended
    return to_answer, at - began


async def _add_target(ready: Plant, api: Connection, number: int) -> str:
    body = {"domain": f"localhost:{20_000 + number}", "visibility": "localhost"}
    answer = await api.ask(post("/api/v1/targets", ready.api_key, json.dumps(body).encode()), SECONDS)
    assert answer.status == 201, answer
    return str(json.loads(answer.body)["target"]["id"])


def _shown(seconds: Sequence[float]) -> str:
    cut = quantiles(seconds, n=100)
    return f"p50 {cut[49] * 1000:.1f} ms, p99 {cut[98] * 1000:.1f} ms ({min(seconds) * 1000:.1f} to {max(seconds) * 1000:.1f})"


if __name__ == "__main__":
    sys.exit(main())
