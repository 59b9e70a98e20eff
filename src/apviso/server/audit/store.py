"""All SQL of the audit trail."""

from __future__ import annotations

from typing import Any

import uuid_utils
from sqlalchemy import func, insert, select

from apviso.protocol.access import AuditEvent
from apviso.protocol.wire import OrganizationId
from apviso.server.db.engine import Work
from apviso.server.db.schema import AuditRow
from apviso.server.paging import Page

SYSTEM = "system"
OPERATOR = "operator"


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
    await work.db.execute(
        insert(AuditRow).values(
            id=str(uuid_utils.uuid7()),
            organization_id=organization_id,
            at=work.now,
            actor=actor,
            action=action,
            subject_type=subject[0],
            subject_id=subject[1],
            details=details,
            request_id=request_id,
        )
    )


async def list_events(work: Work, organization_id: OrganizationId, subject_id: str | None, page: Page) -> tuple[list[AuditEvent], int]:
    """Newest first, and how many there are in all."""
    mine = [AuditRow.organization_id == organization_id]
    if subject_id is not None:
        mine.append(AuditRow.subject_id == subject_id)
    total = await work.db.scalar(select(func.count()).select_from(AuditRow).where(*mine))
    rows = await work.db.execute(
        select(AuditRow.__table__).where(*mine).order_by(AuditRow.at.desc(), AuditRow.id.desc()).offset(page.offset).limit(page.limit)
    )
    return [AuditEvent.model_validate(dict(row)) for row in rows.mappings()], total or 0
