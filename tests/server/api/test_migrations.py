"""The migrations make exactly the schema that the code uses, from nothing and from the version before, and keep what is there."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, MetaData, Table, func, inspect, select, text
from sqlalchemy.ext.asyncio import AsyncEngine

from apviso.server.db import schema
from apviso.server.db.engine import open_engine
from apviso.server.db.upgrade import is_current, script_configuration, upgrade
from tests.support.databases import Databases

HISTORY = ScriptDirectory.from_config(script_configuration())
# Every version that a database in the field may have, and the newest.
REVISIONS = [script.revision for script in reversed(list(HISTORY.walk_revisions()))]
AT = datetime(2026, 5, 3, 9, 15, 32, 123456, tzinfo=UTC)


@pytest.fixture
def empty_url(databases: Databases, tmp_path: Path) -> Iterator[str]:
    with databases.fresh(tmp_path, empty=True) as url:
        yield url


@pytest.fixture
def engine(empty_url: str) -> AsyncEngine:
    return open_engine(empty_url)


def _differences(connection: Connection) -> list[object]:
    context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
    return list(compare_metadata(context, schema.METADATA))


def _constraints(connection: Connection) -> dict[str, Any]:
    """What the comparison of the tool leaves out: keys, uniqueness, conditions of indexes."""
    looked, found = inspect(connection), {}
    for name in sorted(schema.METADATA.tables):
        found[name] = {
            "primary": looked.get_pk_constraint(name)["constrained_columns"],
            "foreign": sorted((key["constrained_columns"], key["referred_table"]) for key in looked.get_foreign_keys(name)),
            "unique": sorted(key["column_names"] for key in looked.get_unique_constraints(name)),
            "indexes": sorted(
                (index["name"], index["column_names"], bool(index["unique"]), _condition(index)) for index in looked.get_indexes(name)
            ),
            "columns": {column["name"]: column["nullable"] for column in looked.get_columns(name)},
        }
    return found


def _condition(index: Any) -> str:
    """Which rows an index is of; nothing for all of them."""
    return next((str(said) for option, said in index.get("dialect_options", {}).items() if option.endswith("_where")), "")


async def _to(engine: AsyncEngine, revision: str) -> None:
    """Bring the database to one version, as the product of that time did."""

    def run(connection: Connection) -> None:
        config = script_configuration()
        config.attributes["connection"] = connection
        command.upgrade(config, revision)

    async with engine.begin() as connection:
        await connection.run_sync(run)


def _filled(connection: Connection) -> dict[str, list[dict[str, Any]]]:
    """Put a row into every table as it is in this version, and say what is in them."""
    tables = MetaData()
    tables.reflect(connection)
    rows = {}
    for table in tables.sorted_tables:
        if table.name != "alembic_version":
            connection.execute(table.insert().values(_row(table)))
            rows[table.name] = [dict(row) for row in connection.execute(select(table)).mappings()]
    return rows


def _row(table: Table) -> dict[str, Any]:
    """A value for each column; the identity of each thing is the same word, so that rows refer to each other."""
    values: dict[str, Any] = {"DATETIME": AT, "TIMESTAMP": AT, "BOOLEAN": True, "JSON": {"a": ["b", None]}, "BLOB": b"x", "BYTEA": b"x"}
    return {
        column.name: values.get(str(column.type).split("(")[0].split(" ")[0], 7 if column.type.python_type in (int, float) else "x")
        for column in table.columns
    }


def _kept(connection: Connection, before: dict[str, list[dict[str, Any]]]) -> dict[str, list[dict[str, Any]]]:
    """The same rows, by the columns that there were."""
    tables = MetaData()
    tables.reflect(connection)
    return {
        name: [dict(row) for row in connection.execute(select(*(tables.tables[name].c[column] for column in rows[0]))).mappings()]
        for name, rows in before.items()
    }


async def test_empty_database_upgraded_to_head_has_no_difference_from_the_schema(engine: AsyncEngine, empty_url: str) -> None:
    await upgrade(empty_url)

    async with engine.connect() as connection:
        assert await connection.run_sync(_differences) == []
    await engine.dispose()


async def test_migrations_and_metadata_make_the_same_keys_and_indexes(databases: Databases, tmp_path: Path) -> None:
    made = []
    for number in range(2):
        (tmp_path / str(number)).mkdir()
        with databases.fresh(tmp_path / str(number), empty=True) as url:
            engine = open_engine(url)
            if number == 0:
                await upgrade(url)
            else:
                async with engine.begin() as connection:
                    await connection.run_sync(schema.METADATA.create_all)
            async with engine.connect() as connection:
                made.append(await connection.run_sync(_constraints))
            await engine.dispose()

    assert made[0] == made[1]


@pytest.mark.parametrize("revision", REVISIONS)
async def test_database_of_any_version_with_data_keeps_it_when_upgraded(engine: AsyncEngine, empty_url: str, revision: str) -> None:
    await _to(engine, revision)
    async with engine.begin() as connection:
        before = await connection.run_sync(_filled)

    await upgrade(empty_url)

    async with engine.connect() as connection:
        assert await connection.run_sync(lambda sync: _kept(sync, before)) == before
        assert await connection.run_sync(_differences) == []
    assert await is_current(engine)
    await engine.dispose()


async def test_upgrade_again_changes_nothing(engine: AsyncEngine, empty_url: str) -> None:
    assert not await is_current(engine)
    await upgrade(empty_url)

    await upgrade(empty_url)

    assert await is_current(engine)
    await engine.dispose()


async def test_upgrades_that_start_together_wait_for_each_other(engine: AsyncEngine, empty_url: str) -> None:
    await asyncio.gather(*(upgrade(empty_url) for _ in range(4)))

    async with engine.connect() as connection:
        assert await connection.scalar(select(func.count()).select_from(text("alembic_version"))) == 1
    assert await is_current(engine)
    await engine.dispose()


async def test_database_of_another_version_is_not_current(database_url: str) -> None:
    engine = open_engine(database_url)
    await upgrade(database_url)

    async with engine.begin() as connection:
        await connection.execute(text("UPDATE alembic_version SET version_num = 'older'"))

    assert not await is_current(engine)
    await engine.dispose()
