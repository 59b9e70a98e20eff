"""Changes of findings' statuses with their history, for all slices that make them: people, scans, retests, time."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import insert, update

from apviso.protocol.states import HistoryCause, UserStatus
from apviso.protocol.wire import FindingId, OrganizationId, ScanId
from apviso.server.db.engine import Work
from apviso.server.db.schema import FindingHistoryRow, FindingRow


@dataclass(frozen=True)
class Change:
    """From one status to another, or to the same where only something is noted."""

    finding_id: FindingId
    before: UserStatus
    after: UserStatus
    cause: HistoryCause
    actor: str
    note: str | None = None
    until: datetime | None = None
    scan_id: ScanId | None = None


async def write_history(work: Work, changes: Sequence[Change]) -> None:
    if not changes:
        return
    rows = [
        {
            "finding_id": change.finding_id,
            "at": work.now,
            "actor": change.actor,
            "cause": change.cause,
            "from_status": change.before,
            "to_status": change.after,
            "note": change.note,
            "until": change.until,
            "scan_id": change.scan_id,
        }
        for change in changes
    ]
    await work.db.execute(insert(FindingHistoryRow), rows)


async def set_status(
    work: Work, organization_id: OrganizationId, ids: Collection[FindingId], status: UserStatus, until: datetime | None = None
) -> None:
    await work.db.execute(
        update(FindingRow)
        .where(FindingRow.organization_id == organization_id, FindingRow.id.in_(ids))
        .values(user_status=status, accepted_until=until)
    )
