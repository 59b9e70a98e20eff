"""SQLite is told what its tables hold; without that it reads a whole organization to find eight of its rows."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import insert, text

from apviso.protocol.states import Visibility
from apviso.server.db.engine import Database
from apviso.server.db.schema import OrganizationRow, TargetRow
from apviso.server.db.upgrade import upgrade
from apviso.server.signals import Signals
from tests.unit.known import NOW

TARGETS, WANTED = 2_000, 64


async def _plan(database: Database) -> str:
    wanted = ", ".join(f"'target-{number}'" for number in range(WANTED))
    asked = text(f"EXPLAIN QUERY PLAN SELECT * FROM targets WHERE organization_id = 'acme' AND id IN ({wanted})")
    async with database.reading() as work:
        return " ".join(row.detail for row in await work.db.execute(asked))


async def test_rows_asked_for_by_id_are_found_by_id_once_stock_was_taken(tmp_path: Path) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path}/apviso.db"
    await upgrade(url)
    database = Database(url, lambda: NOW, Signals())
    addresses = {"display_url": "http://localhost/", "scan_url": "http://localhost/", "visibility": Visibility.LOCALHOST}
    rows = [
        {"id": f"target-{number}", "organization_id": "acme", "domain": f"localhost:{number}", "created_at": NOW, **addresses}
        for number in range(TARGETS)
    ]
    try:
        async with database.writing() as work:
            await work.db.execute(insert(OrganizationRow).values(id="acme", name="Acme", requires_verification=True, created_at=NOW))
            await work.db.execute(insert(TargetRow), rows)
        before = await _plan(database)

        await database.take_stock()

        # The connection that was open before does not know better; those that come now do.
        assert "(organization_id=?)" in before
        assert "(id=?)" in await _plan(database)
    finally:
        await database.close()


async def test_transactions_that_are_under_way_while_stock_is_taken_come_to_their_end(tmp_path: Path) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path}/apviso.db"
    await upgrade(url)
    database = Database(url, lambda: NOW, Signals())
    try:
        async with database.reading() as work:
            assert (await work.db.execute(text("SELECT count(*) FROM organizations"))).scalar_one() == 0

            await database.take_stock()

            assert (await work.db.execute(text("SELECT count(*) FROM runners"))).scalar_one() == 0
        async with database.writing() as work:
            await work.db.execute(insert(OrganizationRow).values(id="acme", name="Acme", requires_verification=True, created_at=NOW))
        async with database.reading() as work:
            assert (await work.db.execute(text("SELECT count(*) FROM organizations"))).scalar_one() == 1
    finally:
        await database.close()
