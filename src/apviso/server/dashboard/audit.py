"""The audit trail: who did what to what, newest first."""

from __future__ import annotations

from fastapi.responses import Response

from apviso.server.dashboard import drawing
from apviso.server.dashboard.routing import page_router
from apviso.server.dashboard.visitors import Visiting

router = page_router("/audit")
PER_PAGE = 50
# Where the page of a subject is.
PLACES = {
    "runner": "/runners/",
    "target": "/targets/",
    "scan": "/scans/",
    "finding": "/findings/",
    "schedule": "/schedules/",
    "webhook": "/webhooks/",
}


@router.get("")
async def list_events(visitor: Visiting, subject: str = "", cursor: str = "") -> Response:
    answer = await visitor.api.organization.audit_page(subject_id=subject or None, cursor=cursor or None, limit=PER_PAGE)
    return visitor.page(
        "audit/list.html.j2",
        events=answer.audit_events,
        total=answer.total,
        after=answer.next_cursor,
        subject=subject,
        places=PLACES,
        rows_of=drawing.rows_of,
    )
