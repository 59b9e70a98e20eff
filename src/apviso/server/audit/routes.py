"""`GET /api/v1/audit-events`: who changed what, for administrators. Nothing here changes or deletes an event."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from apviso.protocol.access import AuditEventList
from apviso.server.access import Administrator
from apviso.server.audit import store
from apviso.server.errors import (
    CredentialInvalid,
    CredentialMissing,
    InsufficientScope,
    InvalidFields,
    RateLimited,
    WrongCredential,
    responses,
)
from apviso.server.paging import Scrolled
from apviso.server.resources import Reading

router = APIRouter(prefix="/api/v1/audit-events", tags=["administration"])


@router.get("", responses=responses(CredentialMissing, CredentialInvalid, WrongCredential, InsufficientScope, InvalidFields, RateLimited))
async def list_audit_events(
    caller: Administrator, work: Reading, page: Scrolled, subject_id: Annotated[str | None, Query(alias="subjectId", max_length=64)] = None
) -> AuditEventList:
    """Newest first; `subjectId` keeps those of one runner, scan, target, key or token prefix."""
    events, total = await store.list_events(work, caller.organization_id, subject_id, page)
    shown, after = page.cut(events, store.cursor_after)
    return AuditEventList(audit_events=shown, next_cursor=after, **page.counted(total))
