"""Counts all runners, scans and organizations for the metrics: a statement each, seldom, however many ask."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

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
                by_status = await count_runners(work)
                scans = await count_scans(work)
                blocked = await count_blocked(work)
        except (DatabaseUnavailable, TimeoutError):
            return None
        numbers = {status: number for status, (number, _) in scans.items()}
        oldest = scans.get(ScanStatus.PENDING_RUNNER, (0, 0.0))[1]
        return FleetCounts(
            runners={status: by_status.get(status, {}).get("all", 0) for status in RunnerStatus if status is not RunnerStatus.REVOKED},
            ages=_upwards("age", by_status, len(AGE_BOUNDS)),
            skews=_upwards("skew", by_status, len(SKEW_BOUNDS)),
            scans={status: numbers.get(status, 0) for status in ScanStatus if status in ACTIVE_STATUSES},
            leases=sum(number for status, number in numbers.items() if status in LEASED_STATUSES),
            oldest_wait_seconds=oldest,
            blocked={code: blocked.get(code, 0) for code in CheckCode},
        )


def _upwards(name: str, by_status: Mapping[str, Mapping[str, Any]], bounds: int) -> tuple[int, ...]:
    return tuple(sum(int(by_status.get(status, {}).get(f"{name}_{at}") or 0) for status in _PRESENT) for at in range(bounds + 1))


async def count_runners(work: Work) -> dict[str, dict[str, int]]:
    """Runners that are not revoked, by the status that history last recorded: `all`, and how many lie within each bound."""
    heard, skew = RunnerRow.last_heartbeat_at, _clock_skew_ms(work)
    within_age = [heard >= work.now - timedelta(seconds=bound) for bound in AGE_BOUNDS]
    within_skew = [func.abs(skew) <= literal(round(bound * 1000), BigInteger) for bound in SKEW_BOUNDS]
    rows = await work.db.execute(
        select(
            RunnerRow.observed_status,
            func.count().label("all"),
            *_counted("age", [*within_age, heard.is_not(None)]),
            *_counted("skew", [*within_skew, skew.is_not(None)]),
        )
        .where(RunnerRow.revoked_at.is_(None))
        .group_by(RunnerRow.observed_status)
    )
    return {str(row["observed_status"]): dict(row) for row in rows.mappings()}


def _counted(name: str, conditions: Sequence[ColumnElement[bool]]) -> list[ColumnElement[int]]:
    return [func.count(case((condition, 1))).label(f"{name}_{at}") for at, condition in enumerate(conditions)]


def _clock_skew_ms(work: Work) -> ColumnElement[Any]:
    """What a runner says of its clock; NULL where that is no number, as it may say anything."""
    told = RunnerRow.health["clockSkewMs"]
    if work.db.dialect.name == "postgresql":
        is_number = func.json_typeof(told) == "number"
    else:
        is_number = func.json_type(RunnerRow.health, "$.clockSkewMs").in_(("integer", "real"))
    # NUMERIC has room for every number that JSON can write.
    return case((is_number, cast(told.as_string(), Numeric(asdecimal=False))))


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
