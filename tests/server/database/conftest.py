"""A PostgreSQL that a test may stop, kill and start again, and a control plane on it with the real clock."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from apviso.server.settings import Settings
from tests.support.clock import RealClock
from tests.support.control_plane import Plane, running
from tests.support.databases import require_postgres
from tests.support.postgres import TEMPLATE, PostgresServer, postgres_server


@pytest.fixture(scope="package")
def frail_server() -> Iterator[PostgresServer]:
    """Keeps what it acknowledged, whatever happens to it."""
    require_postgres()
    with postgres_server(fsync="on", synchronous_commit="on", full_page_writes="on") as server:
        server.make_template()
        yield server


@pytest.fixture
def frail_settings(frail_server: PostgresServer, tmp_path: Path) -> Iterator[Settings]:
    many = 10**6
    with frail_server.database(TEMPLATE) as name:
        yield Settings(
            data_dir=tmp_path,
            database_url=frail_server.url(name),
            housekeeping_interval_seconds=0.2,
            requests_per_minute=many,
            daemon_requests_per_minute=many,
            enrollments_per_minute=many,
        )


@pytest.fixture
async def frail(frail_settings: Settings) -> AsyncIterator[Plane]:
    async with running(frail_settings, RealClock()) as plane:
        yield plane
