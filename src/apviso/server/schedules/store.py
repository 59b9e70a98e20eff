"""All SQL of schedules and of what became of their runs."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, RowMapping, Select, and_, delete, exists, func, insert, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite

from apviso.protocol.schedules import Frequency, IfMissed, ScheduleRun
from apviso.protocol.states import ACTIVE_STATUSES, ModelPreset
from apviso.protocol.wire import OrganizationId, ScheduleId, TargetId
from apviso.server.db.engine import Work
from apviso.server.db.schema import ScanRow, ScheduleRow, ScheduleRunRow
from apviso.server.errors import ScheduleNotFound
from apviso.server.paging import Page
from apviso.server.schedules.facts import RunFacts, ScheduleFacts

# What was decided by a clock that was ahead of this one by more than that is decided again.
CLOCK_STEP = timedelta(minutes=1)


@dataclass(frozen=True)
class DueSchedule:
    """Where to look: its target is locked first, as by everyone who starts a scan."""

    id: ScheduleId
    organization_id: OrganizationId
    target_id: TargetId


def _facts(row: RowMapping) -> ScheduleFacts:
    frequency = row["frequency"]
    return ScheduleFacts(
        **{
            **row,
            "frequency": None if frequency is None else Frequency(frequency),
            "model_preset": ModelPreset(row["model_preset"]),
            "if_missed": IfMissed(row["if_missed"]),
        }
    )


async def add(work: Work, schedule: ScheduleFacts) -> None:
    await work.db.execute(insert(ScheduleRow).values(**vars(schedule)))


async def get(work: Work, organization_id: OrganizationId, schedule_id: str) -> ScheduleFacts:
    """One schedule of this organization. Raises ScheduleNotFound, also for another organization's."""
    found = await work.db.execute(_of(organization_id, schedule_id))
    row = found.mappings().one_or_none()
    if row is None:
        raise ScheduleNotFound
    return _facts(row)


async def get_locked(work: Work, organization_id: OrganizationId, schedule_id: str) -> ScheduleFacts:
    """The same, kept from other changes, and from being run, until this one is done."""
    found = await work.db.execute(_of(organization_id, schedule_id).with_for_update(key_share=True))
    row = found.mappings().one_or_none()
    if row is None:
        raise ScheduleNotFound
    return _facts(row)


def _of(organization_id: OrganizationId, schedule_id: str) -> Select[Any]:
    return select(ScheduleRow.__table__).where(ScheduleRow.organization_id == organization_id, ScheduleRow.id == schedule_id)


async def list_page(work: Work, organization_id: OrganizationId, target_id: str | None, page: Page) -> tuple[list[ScheduleFacts], int]:
    """Newest first, and how many there are in all."""
    wanted: list[ColumnElement[bool]] = [ScheduleRow.organization_id == organization_id]
    if target_id is not None:
        wanted.append(ScheduleRow.target_id == target_id)
    total = await work.db.scalar(select(func.count()).select_from(ScheduleRow).where(*wanted))
    rows = await work.db.execute(
        select(ScheduleRow.__table__)
        .where(*wanted)
        .order_by(ScheduleRow.created_at.desc(), ScheduleRow.id.desc())
        .offset(page.offset)
        .limit(page.limit)
    )
    return [_facts(row) for row in rows.mappings()], total or 0


async def count_of_target(work: Work, target_id: TargetId) -> int:
    return await work.db.scalar(select(func.count()).where(ScheduleRow.target_id == target_id)) or 0


async def edit(work: Work, schedule: ScheduleFacts, **values: Any) -> None:
    """This transaction holds the row."""
    await work.db.execute(update(ScheduleRow).where(ScheduleRow.id == schedule.id).values(**values))


async def remove(work: Work, schedule: ScheduleFacts) -> None:
    """With the account of its runs; the scans stay."""
    await work.db.execute(delete(ScheduleRow).where(ScheduleRow.id == schedule.id))


def due(now: datetime) -> Select[ScheduleId, OrganizationId, TargetId]:
    """Schedules of every organization whose time has come, or whose time was decided by another clock.

    Also those that owe a run which is to be tried again."""
    is_due = or_(ScheduleRow.next_run_at <= now, ScheduleRow.decided_at > now + CLOCK_STEP, ScheduleRow.owed_try_at <= now)
    return select(ScheduleRow.id, ScheduleRow.organization_id, ScheduleRow.target_id).where(ScheduleRow.enabled, is_due)


async def list_due(work: Work, most: int) -> list[DueSchedule]:
    """The one that waits longest first."""
    rows = await work.db.execute(due(work.now).order_by(ScheduleRow.next_run_at, ScheduleRow.id).limit(most))
    return [DueSchedule(row.id, row.organization_id, row.target_id) for row in rows]


# ---- runs


async def list_accounted(work: Work, schedule: ScheduleFacts, due: Collection[datetime]) -> set[datetime]:
    """Which of these runs something was said about."""
    mine = ScheduleRunRow.schedule_id == schedule.id
    return set((await work.db.execute(select(ScheduleRunRow.due_at).where(mine, ScheduleRunRow.due_at.in_(due)))).scalars())


async def add_run(work: Work, schedule: ScheduleFacts, run: RunFacts) -> None:
    """Each run is accounted for once; what was said first stays."""
    dialect = postgresql.insert if work.db.dialect.name == "postgresql" else sqlite.insert
    row = {**vars(run), "schedule_id": schedule.id, "judged_at": work.now}
    await work.db.execute(dialect(ScheduleRunRow).values(row).on_conflict_do_nothing())


async def catch_up(work: Work, schedule: ScheduleFacts, run: RunFacts) -> None:
    """What became in the end of a run that could not be started when it was due."""
    mine = (ScheduleRunRow.schedule_id == schedule.id, ScheduleRunRow.due_at == run.due_at, ScheduleRunRow.scan_id.is_(None))
    await work.db.execute(update(ScheduleRunRow).where(*mine).values(**vars(run), judged_at=work.now))


async def is_at_work(work: Work, schedule: ScheduleFacts) -> bool:
    """Whether a scan that this schedule has started waits or runs."""
    mine = select(ScheduleRunRow.scan_id).where(ScheduleRunRow.schedule_id == schedule.id)
    active = exists().where(ScanRow.target_id == schedule.target_id, ScanRow.status.in_(ACTIVE_STATUSES), ScanRow.id.in_(mine))
    return bool(await work.db.scalar(select(active)))


async def list_runs(work: Work, schedule: ScheduleFacts, page: Page) -> tuple[list[ScheduleRun], int]:
    """Newest first, and how many there are in all."""
    mine = ScheduleRunRow.schedule_id == schedule.id
    total = await work.db.scalar(select(func.count()).select_from(ScheduleRunRow).where(mine))
    rows = await work.db.execute(
        select(ScheduleRunRow.__table__).where(mine).order_by(ScheduleRunRow.due_at.desc()).offset(page.offset).limit(page.limit)
    )
    return [ScheduleRun.model_validate(dict(row)) for row in rows.mappings()], total or 0


async def list_last_runs(work: Work, ids: Collection[ScheduleId]) -> dict[ScheduleId, ScheduleRun]:
    """The latest run of each of these schedules that has had one."""
    latest = (
        select(ScheduleRunRow.schedule_id, func.max(ScheduleRunRow.due_at).label("due_at"))
        .where(ScheduleRunRow.schedule_id.in_(ids))
        .group_by(ScheduleRunRow.schedule_id)
        .subquery()
    )
    is_latest = and_(ScheduleRunRow.schedule_id == latest.c.schedule_id, ScheduleRunRow.due_at == latest.c.due_at)
    rows = await work.db.execute(select(ScheduleRunRow.__table__).join(latest, is_latest))
    return {row["schedule_id"]: ScheduleRun.model_validate(dict(row)) for row in rows.mappings()}


def older_than(moment: datetime) -> Select[Any]:
    """Runs that were due before."""
    return select(ScheduleRunRow.schedule_id).where(ScheduleRunRow.due_at < moment)


async def forget_before(work: Work, moment: datetime) -> None:
    await work.db.execute(delete(ScheduleRunRow).where(ScheduleRunRow.due_at < moment))
