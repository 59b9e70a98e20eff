"""The databases that tests run on, SQLite and a real PostgreSQL that is started for them, and what tests measured by the way."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest
import structlog
from structlog.dev import ConsoleRenderer, plain_traceback

from tests.support.databases import KINDS, Databases, Kind, make_sqlite_template, require_postgres
from tests.support.postgres import PostgresServer, postgres_server
from tests.support.statements import compile_once

compile_once()
# As in the server's own log: what is written with the local variables of each frame takes minutes and stops the loop that it is written in.
structlog.configure(processors=[*structlog.get_config()["processors"][:-1], ConsoleRenderer(exception_formatter=plain_traceback)])


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL for all tests of this process."""
    require_postgres()
    with postgres_server() as server:
        server.make_template()
        yield server


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file for all tests of this process to copy."""
    return make_sqlite_template(tmp_path_factory.mktemp("sqlite"))


@pytest.fixture(scope="session", params=KINDS)
def databases(request: pytest.FixtureRequest) -> Databases:
    """Each test that asks runs once for each kind."""
    kind: Kind = request.param
    match kind:
        case "sqlite":
            return Databases(cast(Path, request.getfixturevalue("sqlite_template")))
        case "postgresql":
            return Databases(cast(PostgresServer, request.getfixturevalue("postgres")))


@pytest.fixture
def database_url(databases: Databases, tmp_path: Path) -> Iterator[str]:
    """The database of this test; the one place that decides which kind it is."""
    with databases.fresh(tmp_path) as url:
        yield url


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The long tests of the last folder come first: begun last, one of them would keep all other processes waiting at the end."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None or item.path.parent.name != "upkeep")


def pytest_collection_finish() -> None:
    """Thousands of tests and their modules stay until the end: no search for garbage need go through them again and again."""
    gc.collect()
    gc.freeze()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Each test may say a line with `record_property("measured", ...)`; all are told at the end, whichever process ran them."""
    reports = [*terminalreporter.getreports("passed"), *terminalreporter.getreports("failed")]
    lines = [str(value) for report in reports for name, value in report.user_properties if name == "measured" and report.when == "call"]
    if lines:
        terminalreporter.section("measured")
        for line in lines:
            terminalreporter.line(line)
