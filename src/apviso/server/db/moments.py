"""Looks that are put together once and asked again and again: a moment in one of them means another one each time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import BindParameter, Select, SelectBase, bindparam, or_, select

from apviso.server.db.base import UtcTime


@dataclass(frozen=True)
class AskedAt:
    """So far away from when the statement is asked. It is put in where a condition takes a time."""

    clock: Callable[[], datetime]
    away: timedelta = timedelta()

    def __add__(self, span: timedelta) -> AskedAt:
        return AskedAt(self.clock, self.away + span)

    def __sub__(self, span: timedelta) -> AskedAt:
        return self + -span

    def __lt__(self, other: datetime) -> bool:
        """As of now: a condition that asks this has to be put together anew when the answer is another one."""
        return self.clock() + self.away < other

    def __clause_element__(self) -> BindParameter[datetime]:
        return bindparam(None, callable_=lambda: self.clock() + self.away, type_=UtcTime(), unique=True)


# What a condition takes that is asked once, or again and again.
Moment = datetime | AskedAt


def whether_any(looks: Iterable[Sequence[SelectBase]]) -> Select[*tuple[Any, ...]]:
    """For each look, whether one of its statements finds a row."""
    return select(*(or_(*(statement.exists() for statement in look)) for look in looks))
