"""A real application on a real database for every test; only the clock is ours."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from apviso.server.settings import Settings
from tests.support.clock import Clock
from tests.support.control_plane import Plane, running
from tests.support.people import Organization, Runner


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="session")
def roomy() -> Settings:
    """No limit gets in the way; timed duties run when a test calls `plane.settle()`. Made once: a hundred variables are looked for."""
    return Settings(
        housekeeping_interval_seconds=60,
        requests_per_minute=100_000,
        daemon_requests_per_minute=100_000,
        enrollments_per_minute=100_000,
        # Each heartbeat is written before it is answered, so that a test sees what it has just said.
        presence_flush_seconds=0,
    )


@pytest.fixture
def settings(roomy: Settings, tmp_path: Path, database_url: str) -> Settings:
    return roomy.model_copy(update={"data_dir": tmp_path / "data", "database_url": database_url})


@pytest.fixture
def fast_lane() -> bool:
    """Whether heartbeats may be answered before the framework; those who test them do it both ways."""
    return True


@pytest.fixture
async def plane(settings: Settings, clock: Clock, fast_lane: bool) -> AsyncIterator[Plane]:
    async with running(settings, clock, fast_lane=fast_lane) as plane:
        yield plane


@pytest.fixture
async def acme(plane: Plane) -> Organization:
    """The organization that a test is about."""
    return await plane.organization("Acme")


@pytest.fixture
async def other(plane: Plane) -> Organization:
    """Another organization on the same control plane, which must see nothing of the first."""
    return await plane.organization("Other")


@pytest.fixture
async def runner(acme: Organization) -> Runner:
    """A runner of `acme`, enrolled and reporting."""
    return await acme.runner()
