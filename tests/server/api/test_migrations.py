"""The migrations make exactly the schema that the code uses."""

from __future__ import annotations

from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, text

from apviso.server.db.engine import open_engine
from apviso.server.db.schema import Table
from apviso.server.db.upgrade import is_current, upgrade


def _differences(connection: Connection) -> list[object]:
    context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
    return list(compare_metadata(context, Table.metadata))


async def test_upgraded_database_has_no_difference_from_the_schema(database_url: str) -> None:
    engine = open_engine(database_url)

    await upgrade(engine)

    async with engine.connect() as connection:
        assert await connection.run_sync(_differences) == []
    await engine.dispose()


async def test_upgrade_again_changes_nothing(database_url: str) -> None:
    engine = open_engine(database_url)
    assert not await is_current(engine)
    await upgrade(engine)

    await upgrade(engine)

    assert await is_current(engine)
    await engine.dispose()


async def test_database_of_another_version_is_not_current(database_url: str) -> None:
    engine = open_engine(database_url)
    await upgrade(engine)

    async with engine.begin() as connection:
        await connection.execute(text("UPDATE alembic_version SET version_num = 'older'"))

    assert not await is_current(engine)
    await engine.dispose()
