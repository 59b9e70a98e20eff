"""Counts all runners, scans and organizations for the metrics: a statement each, seldom, however many ask."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import BigInteger, ColumnElement, Numeric, case, cast, func, literal, select

from apviso.protocol.readiness import CheckCode
from apviso.protocol.states import ACTIVE_STATUSES, LEASED_STATUSES, RunnerStatus, ScanStatus
from apviso.server.db.engine import Database, Work
from apviso.server.db.schema import OrganizationRow, RunnerRow, ScanRow
from apviso.server.errors import DatabaseUnavailable
from apviso.server.metrics import AGE_BOUNDS, DATABASE_UP, SKEW_BOUNDS, FleetCounts

# Several who scrape at the same time, or one who scrapes often, cost the database no more.
KEPT_FOR = timedelta(seconds=5)
# Prometheus waits 10 s for an answer; without the fleet the rest is still worth having.
LONGEST_SECONDS = 4.0
_WATCHED = (RunnerStatus.ONLINE, RunnerStatus.DEGRADED, RunnerStatus.OFFLINE)
_PRESENT = (RunnerStatus.ONLINE, RunnerStatus.DEGRADED)


class Census:
    def __init__(self, database: Database) -> None:
        self._database = database
        self._counting = asyncio.Lock()
        self._counts: FleetCounts | None = None
        self._counted_at: datetime | None = None

    async def counts(self) -> FleetCounts | None:
        """As of a few seconds ago at most; None while the database cannot be asked."""
        async with self._counting:
            now = self._database.clock()
            # A clock that was set back must not keep the numbers for ever.
            if self._counted_at is None or abs(now - self._counted_at) >= KEPT_FOR:
                self._counts, self._counted_at = await self._count(), now
                DATABASE_UP.set(self._counts is not None)
            return self._counts

    async def _count(self) -> FleetCounts | None:
        try:
            async with asyncio.timeout(LONGEST_SECONDS), self._database.reading() as work:
                runners = await count_runners(work)
                scans = await count_scans(work)
                blocked = await count_blocked(work)
        except (DatabaseUnavailable, TimeoutError):
            return None
        present = [one for one in runners if one.status in _PRESENT]
        numbers = {status: number for status, (number, _) in scans.items()}
        return FleetCounts(
            runners={status: sum(one.number for one in runners if one.status == status) for status in _WATCHED},
            ages=_upwards([(one.age, one.number) for one in present], len(AGE_BOUNDS)),
            skews=_upwards([(one.skew, one.number) for one in present], len(SKEW_BOUNDS)),
            scans={status: numbers.get(status, 0) for status in ScanStatus if status in ACTIVE_STATUSES},
            leases=sum(number for status, number in numbers.items() if status in LEASED_STATUSES),
            oldest_wait_seconds=scans.get(ScanStatus.PENDING_RUNNER, (0, 0.0))[1],
            blocked={code: blocked.get(code, 0) for code in CheckCode},
        )


def _upwards(counted: Sequence[tuple[int | None, int]], bounds: int) -> tuple[int, ...]:
    """How many lie within each bound, and how many there are in all; None is of those that have told nothing."""
    return tuple(sum(number for place, number in counted if place is not None and place <= at) for at in range(bounds + 1))


@dataclass(frozen=True)
class Alike:
    """Runners of one status whose last heartbeat and whose clock lie within the same bounds, by the number of the bound."""

    status: str | None
    age: int | None
    skew: int | None
    number: int


async def count_runners(work: Work) -> list[Alike]:
    """Runners that are not revoked, by the status that history last recorded. Each row is looked at once."""
    heard = RunnerRow.last_heartbeat_at
    ages = [(heard >= work.now - timedelta(seconds=bound), at) for at, bound in enumerate(AGE_BOUNDS)]
    age = case(*ages, (heard.is_not(None), len(AGE_BOUNDS)))
    rows = await work.db.execute(
        select(RunnerRow.observed_status.label("status"), age.label("age"), _clock_skew(work).label("skew"), func.count().label("number"))
        .where(RunnerRow.revoked_at.is_(None))
        .group_by("status", "age", "skew")
    )
    return [Alike(**row) for row in rows.mappings()]


def _clock_skew(work: Work) -> ColumnElement[int | None]:
    """The bound within which the clock is off, by the runner's own word; NULL where that is no number, as it may say anything."""
    told = RunnerRow.health["clockSkewMs"]
    if work.db.dialect.name == "postgresql":
        is_number = func.json_typeof(told) == "number"
    else:
        is_number = func.json_type(RunnerRow.health, "$.clockSkewMs").in_(("integer", "real"))
    # NUMERIC has room for every number that JSON can write.
    off = func.abs(cast(told.as_string(), Numeric(asdecimal=False)))
    bounds = [(off <= literal(round(bound * 1000), BigInteger), at) for at, bound in enumerate(SKEW_BOUNDS)]
    return case((is_number, case(*bounds, else_=len(SKEW_BOUNDS))))


async def count_scans(work: Work) -> dict[str, tuple[int, float]]:
    """Scans that have not ended, by status: how many, and the age of the oldest in seconds."""
    rows = await work.db.execute(
        select(ScanRow.status, func.count().label("number"), func.min(ScanRow.created_at, type_=ScanRow.created_at.type).label("oldest"))
        .where(ScanRow.status.in_(ACTIVE_STATUSES))
        .group_by(ScanRow.status)
    )
    return {row.status: (row.number, max(0.0, (work.now - row.oldest).total_seconds())) for row in rows}


async def count_blocked(work: Work) -> dict[str, int]:
    """Organizations by what their live stream was last told; `ready` among them."""
    rows = await work.db.execute(
        select(OrganizationRow.told_readiness, func.count().label("number"))
        .where(OrganizationRow.told_readiness.is_not(None))
        .group_by(OrganizationRow.told_readiness)
    )
    return {row.told_readiness: row.number for row in rows}
