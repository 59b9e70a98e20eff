"""The control plane in the benchmark's own process, for what no request reaches alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from datetime import timedelta

from apviso.protocol.timers import Timers
from apviso.server import logs
from apviso.server.app import create_app
from apviso.server.resources import Resources
from apviso.server.settings import Settings
from benchmarks.plant import Plant, plant

# Silence is no news here, see `plant`.
PATIENT = Timers(offline_after=timedelta(hours=2), heartbeat_late_after=timedelta(hours=1))


@asynccontextmanager
async def control_plane(runners: int, database_url: str = "") -> AsyncIterator[tuple[Plant, Resources]]:
    """With so many runners that have just spoken; on SQLite where no database is named. It writes behind only when it is told to."""
    with ExitStack() as stack:
        ready = await asyncio.to_thread(lambda: stack.enter_context(plant(runners, {}, database_url, have_spoken=True)))
        data_dir = ready.folder / "data"
        # What the process does by itself comes so seldom that it is hardly measured.
        settings = Settings(
            data_dir=data_dir, database_url=database_url, presence_flush_seconds=10, housekeeping_interval_seconds=60, timers=PATIENT
        )
        logs.configure("error")
        app = create_app(settings)
        async with app.router.lifespan_context(app):
            yield ready, app.state.resources
