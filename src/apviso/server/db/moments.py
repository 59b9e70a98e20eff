"""Moments in a statement that is put together once and asked again and again: each time it means another one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import BindParameter, bindparam

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
