from __future__ import annotations

import pytest
from sqlalchemy import Dialect, Select, String, column, make_url, select

from apviso.server.db.many import one_of

DRIVERS = {"postgresql": "postgresql+asyncpg://", "sqlite": "sqlite+aiosqlite://"}
WRITTEN = {
    "postgresql": "WHERE id = ANY ($1::VARCHAR[])",
    "sqlite": "WHERE id IN (SELECT value FROM json_each(?))",
}


@pytest.mark.parametrize("kind", ["postgresql", "sqlite"])
def test_list_as_one_parameter_is_compared_with_the_column_itself_so_that_its_index_is_used(kind: str) -> None:
    dialect: Dialect = make_url(DRIVERS[kind]).get_dialect()()
    wanted: Select[str] = select(column("id", String)).where(one_of(column("id"), "ids"))

    assert str(wanted.compile(dialect=dialect)).replace("\n", " ").endswith(WRITTEN[kind])
