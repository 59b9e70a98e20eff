"""All SQL of findings: the flaw known over all scans, and its sightings by single attempts."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import uuid_utils
from pydantic import TypeAdapter
from sqlalchemy import ColumnElement, Select, and_, case, func, insert, or_, select, tuple_, update
from sqlalchemy.dialects import postgresql, sqlite

from apviso.protocol.findings import Finding, ReportedFinding, StatusChange
from apviso.protocol.states import Severity, UserStatus
from apviso.protocol.wire import FindingId, Instant, OrganizationId, Text
from apviso.server.db.engine import Work
from apviso.server.db.findings import KNOWN, finding_of
from apviso.server.db.schema import FindingHistoryRow, FindingRow, SightingRow
from apviso.server.errors import FindingNotFound
from apviso.server.findings.triage import status_when_seen
from apviso.server.paging import Page, cursor_at, place_of
from apviso.server.scans.facts import AttemptFacts, ScanFacts


def _upsert(work: Work) -> Any:
    return postgresql.insert if work.db.dialect.name == "postgresql" else sqlite.insert


@dataclass(frozen=True)
class Known:
    """A flaw as it was when it was seen now: `before` is its status until then."""

    id: FindingId
    is_new: bool
    before: UserStatus


async def record(work: Work, scan: ScanFacts, found: ReportedFinding, fingerprint: str) -> Known:
    """Know the flaw, or know it again. One marked fixed that is back is open again."""
    content, new_id = found.model_dump(mode="json"), str(uuid_utils.uuid7())
    statement = _upsert(work)(FindingRow).values(
        id=new_id,
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
                FindingRow.id, FindingRow.user_status
            )
        )
    ).one()
    before = UserStatus(row.user_status)
    after = status_when_seen(before)
    if after is not before:
        await work.db.execute(update(FindingRow).where(FindingRow.id == row.id).values(user_status=after))
    return Known(row.id, row.id == new_id, before)


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


@dataclass(frozen=True)
class Wanted:
    """Which of an organization's findings, and in which order. An empty list asks for all; `text` is looked for in title and address."""

    severities: list[Severity]
    user_statuses: list[UserStatus]
    target_ids: list[str]
    cwe_ids: list[int]
    detectors: list[str]
    first_seen_since: datetime | None
    last_seen_since: datetime | None
    text: str | None
    sort: Sort


Sort = Literal["severity", "-severity", "lastSeen", "-lastSeen", "firstSeen", "-firstSeen"]
BY_ITSELF: Sort = "-severity"
_ORDER: dict[Sort, Any] = {
    "severity": _rank(FindingRow.severity).desc(),
    "-severity": _rank(FindingRow.severity),
    "lastSeen": FindingRow.last_seen_at,
    "-lastSeen": FindingRow.last_seen_at.desc(),
    "firstSeen": FindingRow.first_seen_at,
    "-firstSeen": FindingRow.first_seen_at.desc(),
}


def _conditions(organization_id: OrganizationId, wanted: Wanted) -> list[ColumnElement[bool]]:
    content = FindingRow.content
    listed: tuple[tuple[Any, list[Any]], ...] = (
        (FindingRow.severity, wanted.severities),
        (FindingRow.user_status, wanted.user_statuses),
        (FindingRow.target_id, wanted.target_ids),
        (content["cwe_id"].as_integer(), wanted.cwe_ids),
    )
    found: list[ColumnElement[bool]] = [FindingRow.organization_id == organization_id]
    found += [column.in_(values) for column, values in listed if values]
    if wanted.detectors:
        # A list as it is written: each name stands in it with its quotes.
        written = content["detectors"].as_string()
        found.append(or_(*(written.contains(json.dumps(name), autoescape=True) for name in wanted.detectors)))
    if wanted.first_seen_since is not None:
        found.append(FindingRow.first_seen_at >= wanted.first_seen_since)
    if wanted.last_seen_since is not None:
        found.append(FindingRow.last_seen_at >= wanted.last_seen_since)
    if wanted.text:
        found.append(or_(*(content[name].as_string().icontains(wanted.text, autoescape=True) for name in ("title", "url"))))
    return found


async def count(work: Work, organization_id: OrganizationId, wanted: Wanted) -> int:
    counted = select(func.count()).select_from(FindingRow).where(*_conditions(organization_id, wanted))
    return await work.db.scalar(counted) or 0


def _listing(organization_id: OrganizationId, wanted: Wanted) -> Any:
    order = (_ORDER[wanted.sort], FindingRow.last_seen_at.desc(), FindingRow.id)
    return select(*KNOWN, FindingRow.content).where(*_conditions(organization_id, wanted)).order_by(*order)


async def list_all(work: Work, organization_id: OrganizationId, wanted: Wanted, page: Page) -> list[Finding]:
    """The organization's findings over all scans; by a cursor only in the order that it comes in by itself."""
    listed = _listing(organization_id, wanted)
    if page.cursor is not None:
        listed = listed.where(_after(*place_of(page.cursor, _IN_ALL)))
    rows = await work.db.execute(listed.offset(page.offset).limit(page.fetched))
    return [finding_of(row, row.last_scan_id) for row in rows]


# Rows in memory at a time while all are read: each may hold pages of evidence.
EXPORT_BATCH = 200


async def read_all(work: Work, organization_id: OrganizationId, wanted: Wanted) -> AsyncIterator[list[Finding]]:
    """All of them as one statement sees them, some at a time."""
    async with work.db.stream(_listing(organization_id, wanted).execution_options(yield_per=EXPORT_BATCH)) as result:
        async for part in result.partitions():
            yield [finding_of(row, row.last_scan_id) for row in part]


async def get(work: Work, organization_id: OrganizationId, finding_id: str) -> Finding:
    row = (
        await work.db.execute(
            select(*KNOWN, FindingRow.content).where(FindingRow.organization_id == organization_id, FindingRow.id == finding_id)
        )
    ).one_or_none()
    if row is None:
        raise FindingNotFound
    return finding_of(row, row.last_scan_id)


async def get_locked(work: Work, organization_id: OrganizationId, finding_id: str) -> Finding:
    """The same, kept from other changes until this one is done."""
    locked = select(FindingRow.id).where(FindingRow.organization_id == organization_id, FindingRow.id == finding_id)
    await work.db.execute(locked.with_for_update(key_share=True))
    return await get(work, organization_id, finding_id)


async def list_history(work: Work, finding_id: FindingId, page: Page) -> tuple[list[StatusChange], int]:
    """Newest first, and how many entries there are in all."""
    mine = FindingHistoryRow.finding_id == finding_id
    total = await work.db.scalar(select(func.count()).select_from(FindingHistoryRow).where(mine))
    rows = await work.db.execute(
        select(FindingHistoryRow.__table__).where(mine).order_by(FindingHistoryRow.id.desc()).offset(page.offset).limit(page.limit)
    )
    return [StatusChange.model_validate(dict(row)) for row in rows.mappings()], total or 0


def accepted_no_longer(now: datetime) -> Select[Any]:
    """Findings of every organization whose accepted risk has ended."""
    return select(FindingRow.id).where(FindingRow.accepted_until <= now, FindingRow.user_status == UserStatus.ACCEPTED_RISK)


async def end_accepted_risks(work: Work, most: int) -> list[tuple[OrganizationId, FindingId]]:
    """Open those whose accepted risk has ended, at most so many; those that were opened."""
    due = accepted_no_longer(work.now).order_by(FindingRow.id).limit(most).with_for_update(key_share=True)
    ids = list((await work.db.execute(due)).scalars())
    rows = await work.db.execute(
        update(FindingRow)
        .where(FindingRow.id.in_(ids))
        .values(user_status=UserStatus.OPEN, accepted_until=None)
        .returning(FindingRow.organization_id, FindingRow.id)
    )
    return [(row.organization_id, row.id) for row in rows]
