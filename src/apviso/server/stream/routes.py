"""`GET /api/v1/events`: runner, scan and readiness events as they happen; `Last-Event-ID` resumes where a client was cut off."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from typing import Annotated

from fastapi import APIRouter, Header, Request
from fastapi.responses import StreamingResponse

from apviso.protocol.states import Scope
from apviso.protocol.wire import format_instant
from apviso.server.access import Caller, RunnersReader, is_still_valid
from apviso.server.errors import (
    CredentialInvalid,
    CredentialMissing,
    DatabaseUnavailable,
    InsufficientScope,
    Overloaded,
    RateLimited,
    WrongCredential,
    responses,
)
from apviso.server.resources import Plant, Resources
from apviso.server.signals import stream_topic
from apviso.server.stream import store
from apviso.server.stream.sse import EventStream, resume_mark
from apviso.server.stream.store import StreamEvent

router = APIRouter(prefix="/api/v1/events", tags=["events"])
# Proxies close a connection that is silent for a minute.
KEEP_ALIVE_SECONDS = 15.0
# A hint can be lost (another replica wrote the event), so the stream looks by itself as well.
POLL_SECONDS = 2.0


@router.get(
    "",
    response_class=StreamingResponse,
    responses={
        200: {
            "description": "A stream of server-sent events; each has `id`, `event` and JSON `data`.",
            "content": {"text/event-stream": {"schema": {"type": "string"}, "example": "id: 7\nevent: scan.completed\ndata: {}\n\n"}},
        },
        **responses(CredentialMissing, CredentialInvalid, WrongCredential, InsufficientScope, RateLimited, Overloaded),
    },
)
async def follow_events(
    request: Request,
    caller: RunnersReader,
    plant: Plant,
    last_event_id: Annotated[str | None, Header(alias="Last-Event-ID")] = None,
) -> EventStream:
    """Live events of the organization. Without `Last-Event-ID` the stream begins now."""
    return EventStream(plant.parking, follow(request, caller, plant, resume_mark(last_event_id), _written))


async def follow(
    request: Request, caller: Caller, plant: Resources, known: int | None, write: Callable[[StreamEvent], str]
) -> AsyncIterator[str]:
    """What happens from now on, or since the event `known`, as far as the caller may see it and for as long as they may."""
    with plant.signals.listening(stream_topic(caller.organization_id)) as listener:
        # A mark that is ahead of everything is none of this stream: waiting for it to be passed would be waiting for ever.
        try:
            newest = await _newest(caller, plant)
        except DatabaseUnavailable:
            return
        last = newest if known is None else min(known, newest)
        yield ": connected\nretry: 2000\n\n"
        silent = 0.0
        while not (plant.signals.is_closed or await request.is_disconnected()):
            events = await _after(caller, plant, last)
            if events is None:
                return
            for event in events:
                last = event.id
                if _may_see(caller, event):
                    yield write(event)
            silent = 0.0 if events else silent
            if len(events) < store.BATCH and not await listener.wait(POLL_SECONDS):
                silent += POLL_SECONDS
                if silent >= KEEP_ALIVE_SECONDS:
                    silent = 0.0
                    yield ": keep-alive\n\n"


async def _newest(caller: Caller, plant: Resources) -> int:
    async with plant.database.reading() as work:
        return await store.latest_id(work, caller.organization_id)


async def _after(caller: Caller, plant: Resources, last: int) -> list[StreamEvent] | None:
    """None once the key may no longer see anything; nothing new while the database is away."""
    try:
        async with plant.database.reading() as work:
            if not await is_still_valid(work, caller):
                return None
            return list(await store.list_after(work, caller.organization_id, last))
    except DatabaseUnavailable:
        return []


def _may_see(caller: Caller, event: StreamEvent) -> bool:
    if event.type.startswith(("token.", "webhook.")):
        return caller.may(Scope.ADMIN)
    if event.type.startswith(("scan.", "schedule.")):
        return caller.may(Scope.SCANS_READ)
    if event.type.startswith("target."):
        return caller.may(Scope.TARGETS_READ)
    return not event.type.startswith(("finding.", "report.")) or caller.may(Scope.FINDINGS_READ)


def _written(event: StreamEvent) -> str:
    data = json.dumps({"type": event.type, "at": format_instant(event.at), **event.data}, separators=(",", ":"))
    return f"id: {event.id}\nevent: {event.type}\ndata: {data}\n\n"
