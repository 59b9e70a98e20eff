"""What pages load besides: the live stream of what happened, and the style and script of every page."""

from __future__ import annotations

import json

from fastapi import Request
from fastapi.responses import Response

from apviso.server.dashboard import rendering
from apviso.server.dashboard.routing import page_router
from apviso.server.dashboard.visitors import Visiting
from apviso.server.errors import NoSuchRoute
from apviso.server.resources import Plant
from apviso.server.stream.routes import follow
from apviso.server.stream.sse import EventStream, resume_mark
from apviso.server.stream.store import StreamEvent

router = page_router()


@router.get("/live")
async def live(request: Request, visitor: Visiting, plant: Plant) -> Response:
    """The kinds and subjects of what happens. A page that it concerns is fetched anew: no state travels here."""
    known = resume_mark(request.headers.get("last-event-id"))
    return EventStream(plant.parking, follow(request, visitor.caller, plant, known, _told))


def _told(event: StreamEvent) -> str:
    about = {name: value for name, value in event.data.items() if name.endswith("Id")}
    return f"id: {event.id}\ndata: {json.dumps({'type': event.type, **about}, separators=(',', ':'))}\n\n"


@router.get("/static/{name}")
async def static(name: str, request: Request) -> Response:
    found = rendering.static_file(name, request.headers.get("accept-encoding", ""))
    if found is None:
        raise NoSuchRoute
    return found


@router.get("/favicon.ico")
async def favicon(request: Request) -> Response:
    return await static("icon.svg", request)
