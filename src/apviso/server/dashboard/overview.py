"""The first page: whether scans can start now, and what needs somebody's attention first."""

from __future__ import annotations

from fastapi.responses import Response

from apviso.server.dashboard.routing import page_router
from apviso.server.dashboard.visitors import Visiting

router = page_router()


@router.get("/")
async def overview(visitor: Visiting) -> Response:
    readiness = await visitor.api.runners.readiness()
    return visitor.page("overview.html.j2", live="runner scan readiness finding schedule", readiness=readiness)
