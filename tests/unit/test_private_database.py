"""Where the embedded database is made, others on the host read nothing of it."""

from __future__ import annotations

import stat
from pathlib import Path

from apviso.server.db.upgrade import make_private, upgrade


async def test_embedded_database_is_closed_to_other_accounts(tmp_path: Path) -> None:
    await upgrade(f"sqlite+aiosqlite:///{tmp_path / 'apviso.db'}")

    assert {stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()} == {0o600}


def test_place_where_no_file_can_be_made_is_left_to_whoever_opens_it(tmp_path: Path) -> None:
    make_private(f"sqlite+aiosqlite:///{tmp_path / 'nowhere' / 'apviso.db'}")
    make_private("sqlite+aiosqlite:///:memory:")
    make_private("postgresql+asyncpg://apviso@db.example.com/apviso")

    assert list(tmp_path.iterdir()) == []
