"""Statements are compiled once in a process: every test has an engine of its own, and each of them would begin anew."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Engine, event
from sqlalchemy.dialects.postgresql.asyncpg import PGDialect_asyncpg
from sqlalchemy.dialects.sqlite.aiosqlite import SQLiteDialect_aiosqlite
from sqlalchemy.engine import Connection

_COMPILED: dict[Any, Any] = {}


def compile_once() -> None:
    """What is compiled is kept by dialect and statement; all engines of one kind are made in one way, so that their dialects are alike."""
    for dialect in (PGDialect_asyncpg, SQLiteDialect_aiosqlite):
        dialect.__hash__ = lambda self: hash(type(self))  # type: ignore[method-assign]
        dialect.__eq__ = lambda self, other: type(self) is type(other)  # type: ignore[method-assign]

    @event.listens_for(Engine, "engine_connect")
    def share(connection: Connection) -> None:
        connection.engine.update_execution_options(compiled_cache=_COMPILED)
        # The first one has the options from before.
        connection.execution_options(compiled_cache=_COMPILED)
