"""All SQL of the audit trail."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import uuid_utils
from pydantic import TypeAdapter
from sqlalchemy import ColumnElement, func, insert, literal_column, select, tuple_

from apviso.protocol.access import AuditEvent
from apviso.protocol.wire import Instant, OrganizationId, RunnerId, Text
from apviso.server.db.engine import Work
from apviso.server.db.schema import AuditRow
from apviso.server.paging import Page, cursor_at, place_of

SYSTEM = "system"
OPERATOR = "operator"
# Rows of one runner's history in one answer.
MAX_OF_RUNNER = 1_000
# As it is written in the index, which only a constant is compared with.
_IS_OF_RUNNER = AuditRow.subject_type == literal_column("'runner'")
_NEW = insert(AuditRow)
_PLACE = TypeAdapter(tuple[Instant, Text])


@dataclass(frozen=True)
class Entry:
    """One event of many: who did it, to what (type, id), and what is to be known of it, which holds no secret."""

    actor: str
    subject: tuple[str, str]
    request_id: str | None
    details: dict[str, Any]


async def record(
    work: Work,
    organization_id: OrganizationId,
    actor: str,
    action: str,
    subject: tuple[str, str],
    request_id: str | None = None,
    **details: Any,
) -> None:
    """Write one event in the transaction of the change itself. `subject` is (type, id); details hold no secret."""
    await record_all(work, organization_id, action, [Entry(actor, subject, request_id, details)])


async def record_all(work: Work, organization_id: OrganizationId, action: str, events: Sequence[Entry]) -> None:
    """Write one event for each entry, of the same action."""
    rows = [
        {
            "id": str(uuid_utils.uuid7()),
            "organization_id": organization_id,
            "at": work.now,
            "actor": event.actor,
            "action": action,
            "subject_type": event.subject[0],
            "subject_id": event.subject[1],
            "details": event.details,
            "request_id": event.request_id,
        }
        for event in events
    ]
    await work.db.execute(_NEW, rows)


async def list_events(work: Work, organization_id: OrganizationId, subject_id: str | None, page: Page) -> tuple[list[AuditEvent], int]:
    """Newest first (as many as the page fetches), and how many there are in all."""
    mine: list[ColumnElement[bool]] = [AuditRow.organization_id == organization_id]
    if subject_id is not None:
        mine.append(AuditRow.subject_id == subject_id)
    total = await work.db.scalar(select(func.count()).select_from(AuditRow).where(*mine))
    if page.cursor is not None:
        mine.append(tuple_(AuditRow.at, AuditRow.id) < place_of(page.cursor, _PLACE))
    rows = await work.db.execute(
        select(AuditRow.__table__).where(*mine).order_by(AuditRow.at.desc(), AuditRow.id.desc()).offset(page.offset).limit(page.fetched)
    )
    return [AuditEvent.model_validate(dict(row)) for row in rows.mappings()], total or 0


async def list_of_runner(
    work: Work, organization_id: OrganizationId, runner_id: RunnerId, actions: Collection[str], since: datetime
) -> list[AuditEvent]:
    """What was done to one runner since then, of these actions, oldest first, the latest MAX_OF_RUNNER of them."""
    rows = await work.db.execute(
        select(AuditRow.__table__)
        .where(AuditRow.organization_id == organization_id, _IS_OF_RUNNER, AuditRow.subject_id == runner_id)
        .where(AuditRow.action.in_(actions), AuditRow.at > since)
        .order_by(AuditRow.at.desc(), AuditRow.id.desc())
        .limit(MAX_OF_RUNNER)
    )
    return [AuditEvent.model_validate(dict(row)) for row in reversed(rows.mappings().all())]


def cursor_after(event: AuditEvent) -> str:
    """Where a list goes on after this event."""
    return cursor_at(event.at, event.id)
