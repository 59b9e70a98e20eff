"""Brings a database to the newest schema, and says whether it is there."""

from __future__ import annotations

from contextlib import suppress
from functools import cache
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, make_url
from sqlalchemy.ext.asyncio import AsyncEngine

from apviso.server.db.engine import open_engine
from apviso.server.db.locks import UpgradeLock, take

MIGRATIONS = Path(__file__).parent / "migrations"


def script_configuration() -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    return config


@cache
def newest_revision() -> str | None:
    """The schema of this version. Alembic reads every migration to find it."""
    return ScriptDirectory.from_config(script_configuration()).get_current_head()


def make_private(url: str) -> None:
    """Make the file of an embedded database, if it is not there, closed to other accounts, as its folder may not be."""
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite" and parsed.database not in {None, "", ":memory:"}:
        # A place where no file can be made is told by whoever opens it.
        with suppress(OSError):
            Path(str(parsed.database)).touch(mode=0o600, exist_ok=True)


async def upgrade(url: str) -> None:
    """Apply what is missing, in one transaction; processes that start together wait for each other."""

    def run(connection: Connection) -> None:
        config = script_configuration()
        config.attributes["connection"] = connection
        command.upgrade(config, "head")

    make_private(url)
    # A migration of a large table takes the time it takes.
    engine = open_engine(url, is_bounded=False)
    try:
        async with engine.begin() as connection:
            await take(connection, UpgradeLock("schema"))
            await connection.run_sync(run)
    finally:
        await engine.dispose()


async def make_current(engine: AsyncEngine, url: str) -> None:
    """As `upgrade`, for whoever starts: mostly nothing is missing, which `engine` tells without waiting for anybody."""
    make_private(url)
    if not await is_current(engine):
        await upgrade(url)


async def is_current(engine: AsyncEngine) -> bool:
    """Whether the database has exactly the schema of this version."""

    def revision(connection: Connection) -> str | None:
        return MigrationContext.configure(connection).get_current_revision()

    async with engine.connect() as connection:
        await connection.execution_options(reads_only=True)
        return await connection.run_sync(revision) == newest_revision()
