"""Many values as one parameter: the statement stays the same however many there are, so that it is put together and prepared once."""

from __future__ import annotations

from typing import Any, Self

from sqlalchemy import JSON, BindParameter, Boolean, ColumnElement, String, bindparam
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.sql.operators import OperatorType

_TEXTS: Any = postgresql.ARRAY(String).with_variant(JSON(), "sqlite")


class one_of(FunctionElement[bool]):  # noqa: N801  # reads as the function that it is in a statement
    """Whether a column holds one of the texts that are given as the parameter `name`, a list."""

    type = Boolean()
    inherit_cache = True

    def __init__(self, column: Any, name: str) -> None:
        given: BindParameter[Any] = bindparam(name, type_=_TEXTS)
        super().__init__(column, given)

    def self_group(self, against: OperatorType | None = None) -> Self:
        # It is a comparison already. "= 1", which SQLite would be told besides, would keep it from the column's index.
        return self


@compiles(one_of, "postgresql")
def _any(element: one_of, compiler: Any, **options: Any) -> str:
    column, given = _parts(element, compiler, options)
    return f"{column} = ANY ({given})"


@compiles(one_of, "sqlite")
def _listed(element: one_of, compiler: Any, **options: Any) -> str:
    column, given = _parts(element, compiler, options)
    return f"{column} IN (SELECT value FROM json_each({given}))"  # noqa: S608  # parts of the same statement


def _parts(element: one_of, compiler: Any, options: dict[str, Any]) -> list[str]:
    parts: list[ColumnElement[Any]] = list(element.clauses)
    return [compiler.process(part, **options) for part in parts]
