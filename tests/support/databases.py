"""Both kinds of database that the control plane runs on, new and at the newest schema for whoever asks."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest

from apviso.server.db.upgrade import upgrade
from tests.support.postgres import TEMPLATE, PostgresServer, binaries, in_a_loop_of_its_own

Kind = Literal["sqlite", "postgresql"]
KINDS: tuple[Kind, ...] = ("sqlite", "postgresql")


@dataclass(frozen=True)
class Databases:
    """New databases of one kind. `home` is the PostgreSQL that they are in, or the file of SQLite that they are copies of."""

    home: PostgresServer | Path

    @contextmanager
    def fresh(self, folder: Path, *, empty: bool = False) -> Iterator[str]:
        """The URL of a database that nobody else has: with the newest schema, or with none."""
        if isinstance(self.home, Path):
            file = folder / "apviso.db"
            if not empty:
                shutil.copyfile(self.home, file)
            yield _sqlite_url(file)
            return
        with self.home.database("template0" if empty else TEMPLATE) as name:
            yield self.home.url(name)


def make_sqlite_template(folder: Path) -> Path:
    """A file with the newest schema, to copy the others from."""
    file = folder / "schema-at-head.db"
    in_a_loop_of_its_own(upgrade(_sqlite_url(file)))
    # What is not in the file itself would not be copied.
    assert sorted(folder.iterdir()) == [file]
    return file


def _sqlite_url(file: Path) -> str:
    return f"sqlite+aiosqlite:///{file}"


def require_postgres() -> None:
    """Skip the test on a machine without PostgreSQL; with CI=true that is a failure."""
    if binaries() is None:
        reason = "initdb was not found; install PostgreSQL (Debian: postgresql)"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
