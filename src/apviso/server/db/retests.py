"""All SQL of what retests say of findings: their results, and what they saw."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import insert, select

from apviso.protocol.states import RetestOutcome
from apviso.protocol.wire import FindingId, ScanId
from apviso.server.db.engine import Work
from apviso.server.db.schema import RetestRow, SightingRow

Verdict = tuple[RetestOutcome, str]


async def list_seen(work: Work, scan_id: ScanId, attempt: int) -> tuple[set[FindingId], set[FindingId]]:
    """The findings that this attempt saw, and those that earlier ones saw."""
    rows = (await work.db.execute(select(SightingRow.finding_id, SightingRow.attempt).where(SightingRow.scan_id == scan_id))).all()
    return {row.finding_id for row in rows if row.attempt == attempt}, {row.finding_id for row in rows if row.attempt < attempt}


async def keep(work: Work, scan_id: ScanId, verdicts: Mapping[FindingId, Verdict]) -> None:
    rows = [{"scan_id": scan_id, "finding_id": id_, "outcome": outcome, "reason": reason} for id_, (outcome, reason) in verdicts.items()]
    await work.db.execute(insert(RetestRow), rows)


async def list_results(work: Work, scan_id: ScanId) -> dict[FindingId, Verdict]:
    """Empty until the retest has ended."""
    rows = await work.db.execute(select(RetestRow.finding_id, RetestRow.outcome, RetestRow.reason).where(RetestRow.scan_id == scan_id))
    return {row.finding_id: (RetestOutcome(row.outcome), row.reason) for row in rows}
