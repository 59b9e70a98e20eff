"""Runs a control plane for a test that is not asynchronous itself: each call is one turn of its event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

from apviso.server.settings import Settings
from tests.support.clock import Clock
from tests.support.control_plane import Plane, running
from tests.support.databases import Databases
from tests.support.people import Organization

Result = TypeVar("Result")
SECONDS = 30


class Stage:
    """A control plane that can be restarted on its database; time moves only when the test says so."""

    def __init__(self, databases: Databases) -> None:
        self._folder = TemporaryDirectory()
        self._held = ExitStack()
        self._database_url = self._held.enter_context(databases.fresh(Path(self._folder.name)))
        self._loop = asyncio.Runner()
        self.clock = Clock()
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

    def rows(self, *queries: str) -> list[list[Any]]:
        """The answers of the database itself, all of one moment."""

        async def read() -> list[list[Any]]:
            async with self.plane.resources.database.reading() as work:
                return [list((await work.db.exec_driver_sql(query)).all()) for query in queries]

        return self.turn(read())

    async def _begin(self) -> None:
        started = asyncio.Event()
        self._enough = asyncio.Event()

        async def live() -> None:
            async with running(self._settings(), self.clock) as self.plane:
                started.set()
                await self._enough.wait()

        self._life = asyncio.create_task(live())
        await started.wait()

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
