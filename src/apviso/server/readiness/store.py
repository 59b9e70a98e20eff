"""All SQL of readiness: what touches a target now, and how long scans last."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select

from apviso.protocol.states import ACTIVE_STATUSES, ScanStatus
from apviso.protocol.wire import OrganizationId, RunnerId, ScanId, TargetId
from apviso.server.db.engine import Work
from apviso.server.db.schema import AttemptRow, ScanRow

# Enough for a median, few enough that last month's habits do not count.
RECENT_SCANS = 20


@dataclass(frozen=True)
class Touch:
    """Something may be touching a target; `until` is None where no time is known."""

    until: datetime | None


async def touched_until(work: Work, target_id: TargetId, for_scan: ScanId | None) -> Touch | None:
    """Whether another scan of this target is active, or an ended attempt may still send traffic; None when it is idle."""
    active = select(ScanRow.id).where(ScanRow.target_id == target_id, ScanRow.status.in_(ACTIVE_STATUSES))
    if for_scan is not None:
        active = active.where(ScanRow.id != for_scan)
    if await work.db.scalar(active.limit(1)) is not None:
        return Touch(None)
    latest = await work.db.scalar(
        select(func.max(AttemptRow.silent_at)).where(AttemptRow.target_id == target_id, AttemptRow.silent_at > work.now)
    )
    return Touch(latest) if latest is not None else None


async def recent_durations(work: Work, organization_id: OrganizationId) -> list[float]:
    """Seconds from start to end of the latest completed scans."""
    rows = await work.db.execute(
        select(ScanRow.started_at, ScanRow.finished_at)
        .where(ScanRow.organization_id == organization_id, ScanRow.status == ScanStatus.COMPLETED)
        .where(ScanRow.started_at.is_not(None), ScanRow.finished_at.is_not(None))
        .order_by(ScanRow.created_at.desc())
        .limit(RECENT_SCANS)
    )
    return [(row.finished_at - row.started_at).total_seconds() for row in rows]


async def running_since(work: Work, organization_id: OrganizationId) -> list[tuple[RunnerId, datetime]]:
    """Which runner works since when."""
    rows = await work.db.execute(
        select(AttemptRow.runner_id, func.coalesce(AttemptRow.started_at, AttemptRow.assigned_at).label("since")).where(
            AttemptRow.organization_id == organization_id, AttemptRow.ended_at.is_(None)
        )
    )
    return [(row.runner_id, row.since) for row in rows]
