"""Runs a control plane for a test that is not asynchronous itself: each call is one turn of its event loop."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Coroutine
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import httpx2
from sqlalchemy import select

from apviso.protocol.states import AdminState
from apviso.server import housekeeping
from apviso.server.db.schema import RunnerRow
from apviso.server.metrics import DUTY_FAILURES, DUTY_SECONDS
from apviso.server.scans.duties import run_timers
from apviso.server.settings import Settings
from tests.model.patience import Patient
from tests.support.clock import HostClock
from tests.support.control_plane import Plane, running
from tests.support.databases import Databases
from tests.support.people import Organization

Result = TypeVar("Result")
# A turn that does not end is stuck; on a machine without time, each of its calls may be asked again.
SECONDS = 120
# What moves scans and runners on. The other duties cost more than these, and change nothing that a runner could notice.
OF_SCANS = (housekeeping.follow_the_clock, run_timers, housekeeping.watch_runners, housekeeping.end_pauses)


class Stage:
    """A control plane that can be restarted on its database; time moves only when the test says so."""

    def __init__(self, databases: Databases, met: Counter[str]) -> None:
        self._met = met
        self._folder = TemporaryDirectory()
        self._held = ExitStack()
        self._database_url = self._held.enter_context(databases.fresh(Path(self._folder.name)))
        self._loop = asyncio.Runner()
        self.clock = HostClock()
        self._life: asyncio.Task[None] | None = None
        self._enough = asyncio.Event()
        self.plane: Plane
        self.turn(self._begin())
        self.organization: Organization = self.turn(self.plane.organization("Acme"))

    def turn(self, work: Coroutine[Any, Any, Result]) -> Result:
        async def in_time() -> Result:
            async with asyncio.timeout(SECONDS):
                return await work

        return self._loop.run(in_time())

    def restart(self) -> None:
        self.turn(self._end())
        self.turn(self._begin())
        self.organization = Organization(self.plane.client, self.organization.id, self.organization.key)

    def close(self) -> None:
        self.turn(self._end())
        self._loop.close()
        self._held.close()
        self._folder.cleanup()

    def settle(self, *, is_thorough: bool = False) -> None:
        """Do the timed duties once. The last turn of a sequence, and some on the way, does all of them."""
        before = _failed_duties()
        self.turn(housekeeping.run_once(self.plane.resources, housekeeping.DUTIES if is_thorough else OF_SCANS))
        assert _failed_duties() == before, "a timed duty failed"

    def rows(self, *queries: str) -> list[list[Any]]:
        """The answers of the database itself, all of one moment."""

        async def read() -> list[list[Any]]:
            async with self.plane.resources.database.reading() as work:
                return [list((await work.db.exec_driver_sql(query)).all()) for query in queries]

        return self.turn(read())

    def quarantined(self) -> set[str]:
        """Runners that are kept from scans at this moment."""

        async def read() -> set[str]:
            async with self.plane.resources.database.reading() as work:
                kept = RunnerRow.admin_state == AdminState.QUARANTINED, RunnerRow.admin_until > work.now
                return set(await work.db.scalars(select(RunnerRow.id).where(*kept)))

        return self.turn(read())

    async def _begin(self) -> None:
        started = asyncio.Event()
        self._enough = asyncio.Event()

        async def live() -> None:
            async with running(self._settings(), self.clock, duties_at_once=True) as self.plane:
                started.set()
                await self._enough.wait()

        before = _rounds_of_duties()
        self._life = asyncio.create_task(live())
        await started.wait()
        patient = Patient(httpx2.ASGITransport(self.plane.app, raise_app_exceptions=False), self._met)
        self.plane.client = httpx2.AsyncClient(transport=patient, base_url="http://control-plane")
        # The first round of the timed duties comes by itself, and must not fall between two looks.
        while _rounds_of_duties() == before:  # noqa: ASYNC110  # a metric signals nobody
            await asyncio.sleep(0.002)
        async with self.plane.resources.round:
            pass

    async def _end(self) -> None:
        self._enough.set()
        if self._life is not None:
            await self._life

    def _settings(self) -> Settings:
        folder = Path(self._folder.name)
        many = 10**6
        return Settings(
            data_dir=folder,
            database_url=self._database_url,
            housekeeping_interval_seconds=60,
            requests_per_minute=many,
            daemon_requests_per_minute=many,
            enrollments_per_minute=many,
        )


def _failed_duties() -> float:
    return sum(sample.value for metric in DUTY_FAILURES.collect() for sample in metric.samples if sample.name.endswith("_total"))


def _rounds_of_duties() -> float:
    """By the first duty of a round, which is always done."""
    first = DUTY_SECONDS.labels(housekeeping.DUTIES[0].__name__)
    return sum(sample.value for metric in first.collect() for sample in metric.samples if sample.name.endswith("_count"))
