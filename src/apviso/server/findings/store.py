"""All SQL of findings: the flaw known over all scans, and its sightings by single attempts."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import uuid_utils
from pydantic import TypeAdapter
from sqlalchemy import ColumnElement, and_, case, func, insert, or_, select, tuple_, update
from sqlalchemy.dialects import postgresql, sqlite

from apviso.protocol.findings import Finding, ReportedFinding
from apviso.protocol.states import Severity, UserStatus
from apviso.protocol.wire import FindingId, Instant, OrganizationId, Text
from apviso.server.db.engine import Work
from apviso.server.db.findings import KNOWN, finding_of
from apviso.server.db.schema import FindingRow, SightingRow
from apviso.server.errors import FindingNotFound
from apviso.server.paging import Page, cursor_at, place_of
from apviso.server.scans.facts import AttemptFacts, ScanFacts


def _upsert(work: Work) -> Any:
    return postgresql.insert if work.db.dialect.name == "postgresql" else sqlite.insert


async def record(work: Work, scan: ScanFacts, found: ReportedFinding, fingerprint: str) -> tuple[FindingId, bool]:
    """Know the flaw, or know it again; its id and whether it is new to this target. A flaw marked fixed that is back is open again."""
    content = found.model_dump(mode="json")
    statement = _upsert(work)(FindingRow).values(
        id=str(uuid_utils.uuid7()),
        organization_id=scan.organization_id,
        target_id=scan.target_id,
        fingerprint=fingerprint,
        severity=found.severity,
        user_status=UserStatus.OPEN,
        last_scan_id=scan.id,
        first_seen_at=work.now,
        last_seen_at=work.now,
        content=content,
    )
    again = {"last_seen_at": work.now, "last_scan_id": scan.id, "severity": found.severity, "content": content}
    row = (
        await work.db.execute(
            statement.on_conflict_do_update(index_elements=["target_id", "fingerprint"], set_=again).returning(
                FindingRow.id, FindingRow.first_seen_at, FindingRow.user_status
            )
        )
    ).one()
    if row.user_status == UserStatus.FIXED:
        await work.db.execute(update(FindingRow).where(FindingRow.id == row.id).values(user_status=UserStatus.OPEN))
    return row.id, row.first_seen_at == work.now


async def find_sighting(work: Work, attempt: AttemptFacts, finding_id: FindingId) -> ReportedFinding | None:
    """What this attempt has said of the flaw so far."""
    content = await work.db.scalar(
        select(SightingRow.content).where(
            SightingRow.scan_id == attempt.scan_id, SightingRow.attempt == attempt.number, SightingRow.finding_id == finding_id
        )
    )
    return None if content is None else ReportedFinding.model_validate(content)


async def add_sighting(work: Work, attempt: AttemptFacts, finding_id: FindingId, found: ReportedFinding) -> None:
    await work.db.execute(
        insert(SightingRow).values(
            scan_id=attempt.scan_id,
            attempt=attempt.number,
            finding_id=finding_id,
            severity=found.severity,
            content=found.model_dump(mode="json"),
        )
    )


async def replace_sighting(work: Work, attempt: AttemptFacts, finding_id: FindingId, found: ReportedFinding) -> None:
    await work.db.execute(
        update(SightingRow)
        .where(SightingRow.scan_id == attempt.scan_id, SightingRow.attempt == attempt.number, SightingRow.finding_id == finding_id)
        .values(severity=found.severity, content=found.model_dump(mode="json"))
    )


# Worst first, as people read.
_RANK = {severity: rank for rank, severity in enumerate(Severity)}


def _rank(column: Any) -> Any:
    return case(_RANK, value=column)


# Where lists go on: after which severity, time and id.
_IN_SCAN = TypeAdapter(tuple[Severity, Text])
_IN_ALL = TypeAdapter(tuple[Severity, Instant, Text])


def cursor_in_scan(finding: Finding) -> str:
    return cursor_at(finding.severity, finding.id)


def cursor_in_all(finding: Finding) -> str:
    return cursor_at(finding.severity, finding.last_seen_at, finding.id)


def _after(severity: Severity, seen_at: datetime, finding_id: str) -> ColumnElement[bool]:
    """What comes later in the order worst, latest, id."""
    rank = _rank(FindingRow.severity)
    is_later = or_(FindingRow.last_seen_at < seen_at, and_(FindingRow.last_seen_at == seen_at, FindingRow.id > finding_id))
    return or_(rank > _RANK[severity], and_(rank == _RANK[severity], is_later))


async def list_of_scan(
    work: Work, scan: ScanFacts, severity: Severity | None, user_status: UserStatus | None, page: Page
) -> tuple[list[Finding], int]:
    """What the current attempt of the scan saw, worst first, and how many there are."""
    wanted: list[ColumnElement[bool]] = [SightingRow.scan_id == scan.id, SightingRow.attempt == scan.attempt]
    if severity is not None:
        wanted.append(SightingRow.severity == severity)
    if user_status is not None:
        wanted.append(FindingRow.user_status == user_status)
    joined = and_(FindingRow.id == SightingRow.finding_id, *wanted)
    total = await work.db.scalar(select(func.count()).select_from(SightingRow).join(FindingRow, joined))
    order = (_rank(SightingRow.severity), FindingRow.id)
    listed = select(*KNOWN, SightingRow.content).join(SightingRow, joined).order_by(*order)
    if page.cursor is not None:
        severity, finding_id = place_of(page.cursor, _IN_SCAN)
        listed = listed.where(tuple_(*order) > (_RANK[severity], finding_id))
    rows = await work.db.execute(listed.offset(page.offset).limit(page.fetched))
    return [finding_of(row, scan.id) for row in rows], total or 0


async def list_all(
    work: Work,
    organization_id: OrganizationId,
    severity: Severity | None,
    user_status: UserStatus | None,
    target_id: str | None,
    page: Page,
) -> tuple[list[Finding], int]:
    """The organization's findings over all scans, worst and latest first, and how many there are."""
    wanted: list[ColumnElement[bool]] = [FindingRow.organization_id == organization_id]
    if severity is not None:
        wanted.append(FindingRow.severity == severity)
    if user_status is not None:
        wanted.append(FindingRow.user_status == user_status)
    if target_id is not None:
        wanted.append(FindingRow.target_id == target_id)
    total = await work.db.scalar(select(func.count()).select_from(FindingRow).where(*wanted))
    if page.cursor is not None:
        wanted.append(_after(*place_of(page.cursor, _IN_ALL)))
    rows = await work.db.execute(
        select(*KNOWN, FindingRow.content)
        .where(*wanted)
        .order_by(_rank(FindingRow.severity), FindingRow.last_seen_at.desc(), FindingRow.id)
        .offset(page.offset)
        .limit(page.fetched)
    )
    return [finding_of(row, row.last_scan_id) for row in rows], total or 0


async def get(work: Work, organization_id: OrganizationId, finding_id: str) -> Finding:
    row = (
        await work.db.execute(
            select(*KNOWN, FindingRow.content).where(FindingRow.organization_id == organization_id, FindingRow.id == finding_id)
        )
    ).one_or_none()
    if row is None:
        raise FindingNotFound
    return finding_of(row, row.last_scan_id)


async def set_user_status(work: Work, organization_id: OrganizationId, finding_id: FindingId, status: UserStatus) -> None:
    await work.db.execute(
        update(FindingRow).where(FindingRow.organization_id == organization_id, FindingRow.id == finding_id).values(user_status=status)
    )
