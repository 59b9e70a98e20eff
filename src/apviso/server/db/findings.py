"""Reads known findings for two slices: the findings themselves, and the retests that scans carry to runners. Changes nothing."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from sqlalchemy import func, select

from apviso.protocol.findings import MAX_RETESTED, Finding, ReportedFinding
from apviso.protocol.states import UserStatus
from apviso.protocol.wire import FindingId, ScanId, TargetId
from apviso.server.db.engine import Work
from apviso.server.db.schema import FindingRow, SightingRow

KNOWN = (
    FindingRow.id,
    FindingRow.fingerprint,
    FindingRow.user_status,
    FindingRow.first_seen_at,
    FindingRow.last_seen_at,
    FindingRow.last_scan_id,
    FindingRow.target_id,
    FindingRow.accepted_until,
)


def finding_of(row: Any, scan_id: ScanId) -> Finding:
    """A row of the columns `KNOWN` and `content`, as seen by `scan_id`."""
    content = {name: value for name, value in row.content.items() if name in ReportedFinding.model_fields}
    return Finding(
        **content,
        id=row.id,
        scan_id=scan_id,
        fingerprint=row.fingerprint,
        user_status=row.user_status,
        first_seen_at=row.first_seen_at,
        last_seen_at=row.last_seen_at,
        target_id=row.target_id,
        accepted_until=row.accepted_until,
    )


async def count_of_target(work: Work, target_id: TargetId, ids: Collection[str]) -> int:
    """How many of `ids` are findings of this target."""
    counted = select(func.count()).select_from(FindingRow).where(FindingRow.target_id == target_id, FindingRow.id.in_(ids))
    return await work.db.scalar(counted) or 0


async def list_ids_of_scan(work: Work, scan_id: ScanId, most: int) -> list[FindingId]:
    """What a scan saw, over all its attempts and without false positives; at most `most`."""
    seen = select(SightingRow.finding_id).where(SightingRow.scan_id == scan_id)
    wanted = select(FindingRow.id).where(FindingRow.id.in_(seen), FindingRow.user_status != UserStatus.FALSE_POSITIVE)
    return list((await work.db.execute(wanted.order_by(FindingRow.id).limit(most))).scalars())


async def list_to_retest(work: Work, target_id: TargetId, ids: Collection[str], parent_scan_id: ScanId | None) -> list[Finding]:
    """The named findings of a target; where none is named, those that the parent scan saw."""
    seen_by_parent = select(SightingRow.finding_id).where(SightingRow.scan_id == parent_scan_id)
    wanted = FindingRow.id.in_(ids) if ids else FindingRow.id.in_(seen_by_parent)
    rows = await work.db.execute(
        select(*KNOWN, FindingRow.content).where(FindingRow.target_id == target_id, wanted).order_by(FindingRow.id).limit(MAX_RETESTED)
    )
    return [finding_of(row, row.last_scan_id) for row in rows]
