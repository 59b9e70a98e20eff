"""All SQL of readiness: what touches a target now, and how long scans last."""

from __future__ import annotations

from collections.abc import Collection
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


async def touches(work: Work, target_ids: Collection[TargetId], except_scans: Collection[ScanId]) -> dict[TargetId, Touch]:
    """Of which of these targets another scan is active, or an ended attempt may still send traffic; the others are idle."""
    latest = await work.db.execute(
        select(AttemptRow.target_id, func.max(AttemptRow.silent_at).label("until"))
        .where(AttemptRow.target_id.in_(target_ids), AttemptRow.silent_at > work.now)
        .group_by(AttemptRow.target_id)
    )
    found = {row.target_id: Touch(row.until) for row in latest}
    active = select(ScanRow.target_id).where(
        ScanRow.target_id.in_(target_ids), ScanRow.status.in_(ACTIVE_STATUSES), ScanRow.id.not_in(except_scans)
    )
    return found | {target_id: Touch(None) for target_id in (await work.db.execute(active)).scalars()}


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
