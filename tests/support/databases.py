"""Both kinds of database that the control plane runs on, new and at the newest schema for whoever asks."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest

from tests.support.postgres import TEMPLATE, PostgresServer, binaries

Kind = Literal["sqlite", "postgresql"]
KINDS: tuple[Kind, ...] = ("sqlite", "postgresql")


@dataclass(frozen=True)
class Databases:
    """New databases of one kind. `server` is the PostgreSQL that they are in."""

    kind: Kind
    server: PostgresServer | None

    @contextmanager
    def fresh(self, folder: Path, *, empty: bool = False) -> Iterator[str]:
        """The URL of a database that nobody else has: with the newest schema, or with none."""
        if self.server is None:
            # A file is made and brought to the newest schema by whoever opens it.
            yield f"sqlite+aiosqlite:///{folder / 'apviso.db'}"
            return
        with self.server.database("template0" if empty else TEMPLATE) as name:
            yield self.server.url(name)


def require_postgres() -> None:
    """Skip the test on a machine without PostgreSQL; with CI=true that is a failure."""
    if binaries() is None:
        reason = "initdb was not found; install PostgreSQL (Debian: postgresql)"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
