"""`python -m benchmarks.holding`: how long the pages of 10,000 runners keep the event loop from everybody else, and what each costs.

The application runs in this process, on SQLite, and every step of its event loop is counted in processor time: the figures are about the
product, not about what else runs on the machine. Before each look the heartbeats of a second are written, as in a fleet that lives."""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import random
import statistics
import time
from asyncio import events
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import structlog
from sqlalchemy import insert

from apviso.protocol.timers import Timers
from apviso.protocol.wire import OrganizationId, RunnerId
from apviso.server.db.beats import Beats
from apviso.server.db.schema import ScanRow, TargetRow
from apviso.server.runners import store
from apviso.server.settings import Settings
from benchmarks.seeding import Enrolled, enroll, scan_row, target_row
from tests.support.clock import RealClock
from tests.support.control_plane import Plane, running
from tests.support.visitors import visitor

RUNNERS, QUEUED, ROUNDS, INTERVAL_SECONDS = 10_000, 20, 7, 15
PAGES = ("/", "/runners", "/runners?status=offline", "/runners/{runner}", "/targets/{target}", "/scans", "/schedules/add", "/sign-in")
_RUN = events.Handle._run


@contextmanager
def steps() -> Iterator[list[float]]:
    """Milliseconds of the processor that each step of the event loop took."""
    taken: list[float] = []

    def measured(handle: Any) -> None:
        began = time.thread_time()
        _RUN(handle)
        taken.append((time.thread_time() - began) * 1000)

    events.Handle._run = measured  # type: ignore[assignment, method-assign]
    try:
        yield taken
    finally:
        events.Handle._run = _RUN  # type: ignore[method-assign]


async def main(runners: int) -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    with TemporaryDirectory(prefix="bench-") as folder:
        # Timed duties have costs of their own.
        timers = Timers(offline_after=timedelta(hours=2), heartbeat_late_after=timedelta(hours=1))
        settings = Settings(data_dir=Path(folder), pages_per_minute=1_000_000, housekeeping_interval_seconds=60, timers=timers)
        async with running(settings, RealClock()) as plane:
            acme = await plane.organization("Acme")
            known = await enroll(settings.effective_database_url, acme.id, runners, have_spoken=True)
            target = await _queue(plane, acme.id)
            # As `serving` has it.
            gc.collect()
            gc.set_threshold(1_000, 1_000_000_000, 1_000_000_000)
            who, numbers = await visitor(plane, acme.id), count(1)
            print(f"{runners} runners, {QUEUED} scans that wait; milliseconds of the processor", flush=True)
            for page in PAGES:
                looks = []
                for _ in range(ROUNDS):
                    await _beat(plane, acme.id, random.sample(known, runners // INTERVAL_SECONDS), next(numbers))
                    spent = time.process_time()
                    with steps() as taken:
                        answer = await (plane.client if page == "/sign-in" else who).get(page.format(runner=known[0].id, target=target))
                    looks.append((max(taken), (time.process_time() - spent) * 1000))
                    assert answer.status_code == 200, answer.text
                _tell(page, looks)


def _tell(page: str, looks: list[tuple[float, float]]) -> None:
    (first_step, first), rest = looks[0], looks[1:]
    step, worst = statistics.median(step for step, _ in rest), max(step for step, _ in rest)
    longest = f"longest step {step:5.1f} (at most {worst:.1f}, first look {first_step:.1f})"
    print(f"{page:24} {longest}; all {statistics.median(cost for _, cost in rest):6.1f} (first look {first:.1f})", flush=True)


async def _queue(plane: Plane, organization_id: str) -> str:
    """Scans that nobody takes, and a target that is not scanned."""
    now = datetime.now(UTC)
    targets = [target_row(organization_id, number) | {"created_at": now} for number in range(QUEUED + 1)]
    async with plane.resources.database.writing() as work:
        await work.db.execute(insert(TargetRow), targets)
        await work.db.execute(insert(ScanRow), [scan_row(target) | {"created_at": now} for target in targets[1:]])
    return str(targets[0]["id"])


async def _beat(plane: Plane, organization_id: str, runners: list[Enrolled], number: int) -> None:
    now, health = datetime.now(UTC), f'{{"diskFreeBytes":{10**11 + number},"clockSkewMs":3,"spoolBacklogBytes":0}}'
    ordered, each = sorted(runners, key=lambda one: one.id), len(runners)
    boots, ids = [f"boot-{one.number}" for one in ordered], [RunnerId(one.id) for one in ordered]
    beats = Beats(ids, list[str | None](boots), [number] * each, [800] * each, [health] * each, [now] * each)
    async with plane.resources.database.writing() as work:
        await store.record_beats(work, store.Answered(beats, [OrganizationId(organization_id)] * each))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runners", type=int, default=RUNNERS)
    asyncio.run(main(parser.parse_args().runners))
