"""Reads how things stood over time: slots in use and scans that waited, new findings day by day, who saw a finding. Changes nothing."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from datetime import date, datetime, time, timedelta
from typing import Any

from sqlalchemy import Integer, and_, case, exists, func, literal_column, or_, select, union_all

from apviso.protocol.findings import DayOfFindings, Finding, FindingCounts, Look
from apviso.protocol.scans import Load
from apviso.protocol.states import FINAL_STATUSES, ScanStatus
from apviso.protocol.timers import Timers
from apviso.protocol.wire import OrganizationId
from apviso.server.db.engine import Work
from apviso.server.db.schema import AttemptRow, FindingRow, ScanRow, SightingRow

LOOKED_BACK, STEP = timedelta(hours=24), timedelta(minutes=30)
DAYS = 30
MOST_LOOKS = 30


def moments(now: datetime) -> list[datetime]:
    """Oldest first; the last is now."""
    return [now - step * STEP for step in range(LOOKED_BACK // STEP, -1, -1)]


def longest_life(timers: Timers) -> timedelta:
    """Longer than any scan is there: it may wait until the queue gives it up, before each of its attempts."""
    return timers.max_attempts * (timers.queue_timeout + timers.run_timeout)


async def read_load(work: Work, organization_id: OrganizationId, at: Sequence[datetime], lived: timedelta) -> list[Load]:
    """At each of these moments. A scan that is there, and that no attempt runs, waits."""
    since = min(at)
    mine = (ScanRow.organization_id == organization_id, ScanRow.created_at > since - lived)
    scans = select(literal_column("0", Integer).label("runs"), ScanRow.created_at.label("begins"), ScanRow.finished_at.label("ends")).where(
        *mine, or_(ScanRow.finished_at.is_(None), ScanRow.finished_at > since)
    )
    attempts = (
        select(literal_column("1", Integer), AttemptRow.assigned_at, AttemptRow.ended_at)
        .join(ScanRow, ScanRow.id == AttemptRow.scan_id)
        .where(*mine, or_(AttemptRow.ended_at.is_(None), AttemptRow.ended_at > since))
    )
    rows = (await work.db.execute(union_all(scans, attempts))).all()
    # Counted here: for each moment by itself the database would go through all of them.
    there = _count([(row.begins, row.ends) for row in rows if not row.runs], at)
    running = _count([(row.begins, row.ends) for row in rows if row.runs], at)
    return [Load(at=moment, running=run, queued=max(0, all_ - run)) for moment, all_, run in zip(at, there, running, strict=True)]


def _count(spans: Sequence[tuple[datetime, datetime | None]], at: Sequence[datetime]) -> list[int]:
    """How many of the spans hold at each moment: those that have begun, without those that have ended."""
    begins, ends = sorted(begin for begin, _ in spans), sorted(end for _, end in spans if end is not None)
    return [bisect_right(begins, moment) - bisect_right(ends, moment) for moment in at]


async def list_looks(work: Work, finding: Finding) -> list[Look]:
    """The latest ended scans of its target, newest first. What an attempt saw that was lost counts as seen: the flaw was there."""
    sighted = exists().where(SightingRow.scan_id == ScanRow.id, SightingRow.finding_id == finding.id)
    rows = await work.db.execute(
        select(ScanRow.id, ScanRow.status, ScanRow.is_retest, ScanRow.coverage, ScanRow.finished_at, sighted.label("seen"))
        .where(ScanRow.target_id == finding.target_id, ScanRow.status.in_(FINAL_STATUSES), ScanRow.finished_at >= finding.first_seen_at)
        .order_by(ScanRow.finished_at.desc(), ScanRow.id.desc())
        .limit(MOST_LOOKS)
    )
    return [
        Look(
            scan_id=row.id,
            ended_at=row.finished_at,
            status=row.status,
            is_retest=row.is_retest,
            complete=row.status == ScanStatus.COMPLETED and bool((row.coverage or {}).get("complete")),
            seen=bool(row.seen),
        )
        for row in rows
    ]


def first_day(now: datetime) -> datetime:
    """When the first of the days begins; the last is today."""
    return datetime.combine(now.date(), time(), now.tzinfo) - timedelta(days=DAYS - 1)


async def count_new(work: Work, organization_id: OrganizationId, since: datetime) -> list[DayOfFindings]:
    """On each day from `since` on, by the severity that they have now."""
    begins = [since + timedelta(days=number) for number in range(DAYS)]
    # A case of its own for each day, not a function for dates: those of the two databases read zones differently.
    day: Any = case(*((FindingRow.first_seen_at < begin, number) for number, begin in enumerate(begins[1:])), else_=DAYS - 1)
    # What was first seen since then was last seen since then, and by that the index finds it.
    is_new = and_(FindingRow.last_seen_at >= since, FindingRow.first_seen_at >= since)
    each = select(day.label("day"), FindingRow.severity).where(FindingRow.organization_id == organization_id, is_new).subquery()
    rows = await work.db.execute(select(each.c.day, each.c.severity, func.count().label("count")).group_by(each.c.day, each.c.severity))
    counts: list[dict[str, int]] = [{} for _ in begins]
    for row in rows:
        counts[row.day][row.severity] = row.count
    return [_day(begin.date(), of_day) for begin, of_day in zip(begins, counts, strict=True)]


def _day(day: date, counts: dict[str, int]) -> DayOfFindings:
    return DayOfFindings(day=day, counts=FindingCounts(**counts))
