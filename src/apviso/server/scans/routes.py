"""Scans, for people: start, list, look, cancel, read the log."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body, Depends, Header, Query, Request
from fastapi.responses import Response
from pydantic import Field, TypeAdapter

from apviso.protocol.scans import AttemptList, CreatedScan, NewScan, ScanAnswer, ScanList, ScanLoad, ScanLog
from apviso.protocol.states import EndReason, ScanStatus
from apviso.protocol.wire import ScanId, format_instant
from apviso.server.access import Caller, ScansReader, ScansWriter, is_still_valid
from apviso.server.audit import store as audit
from apviso.server.blocking import HeldOpen, Shown
from apviso.server.db import over_time
from apviso.server.db.engine import Work
from apviso.server.errors import (
    AlreadyIssued,
    BodyTooLarge,
    CredentialInvalid,
    CredentialMissing,
    DatabaseUnavailable,
    IdempotencyKeyReused,
    InsufficientScope,
    InvalidFields,
    LicenseInactive,
    LicenseLimitReached,
    MalformedJson,
    Overloaded,
    RateLimited,
    RunnerNotFound,
    RunnerNotReady,
    ScanAlreadyActive,
    ScanAlreadyEnded,
    ScanNotFound,
    TargetNotFound,
    TargetUnverified,
    VisibilityNotAllowed,
    WrongCredential,
    responses,
)
from apviso.server.idempotency import Idempotent
from apviso.server.paging import MAX_CURSOR, Scrolled, cursor_at, place_of
from apviso.server.resources import Plant, Reading, Resources, Writing
from apviso.server.scans import starting, store
from apviso.server.scans.ending import conclude, tell
from apviso.server.scans.facts import ScanFacts
from apviso.server.scans.gaps import gaps_of
from apviso.server.scans.lifecycle import cancelled
from apviso.server.scans.proofs import looked_again
from apviso.server.scans.view import attempt as shown_attempt
from apviso.server.scans.view import job, show, show_started
from apviso.server.signals import log_topic
from apviso.server.stream.sse import EventStream, resume_mark

DENIED = (CredentialMissing, CredentialInvalid, WrongCredential, InsufficientScope, InvalidFields, RateLimited)
router = APIRouter(prefix="/api/v1/scans", tags=["scans"])
KEEP_ALIVE_SECONDS = 15.0
POLL_SECONDS = 2.0
# Numbers of events end below.
_EVENTS_OF_AN_ATTEMPT = 2**31
_Number = Annotated[int, Field(ge=0, le=2**31 - 1)]
_LOG_PLACE = TypeAdapter(tuple[_Number, _Number])
_ALIASES = {"queued": ScanStatus.PENDING_RUNNER, "provisioning": ScanStatus.ASSIGNED}
StatusFilter = Literal[
    "pending_runner", "assigned", "running", "stale", "completed", "failed", "cancelled", "preflight_failed", "queued", "provisioning"
]


@router.post(
    "",
    status_code=201,
    dependencies=[Depends(looked_again)],
    responses=responses(
        *DENIED,
        MalformedJson,
        BodyTooLarge,
        LicenseInactive,
        LicenseLimitReached,
        VisibilityNotAllowed,
        TargetUnverified,
        TargetNotFound,
        RunnerNotFound,
        ScanNotFound,
        RunnerNotReady,
        ScanAlreadyActive,
        AlreadyIssued,
        IdempotencyKeyReused,
        Overloaded,
    ),
)
async def start_scan(
    wanted: Annotated[NewScan, Body(examples=[{"targetId": "01890a5d-ac96-774b-bcce-b302099a8057", "modelPreset": "low"}])],
    caller: ScansWriter,
    work: Writing,
    plant: Plant,
    once: Idempotent,
) -> CreatedScan:
    """Queue a scan. Where no runner could take it now, it is refused with every check, or waits with `whenUnavailable: queue`.

    Before a scan of a target whose control has to be proved, the proof is looked for again where the last look is a day old.
    """

    async def create() -> CreatedScan:
        started = await starting.start(work, plant, caller.organization_id, wanted, actor=caller.actor, request_id=caller.request_id)
        return CreatedScan(scan=show_started(started), job=job(started.scan))

    return await once.create(CreatedScan, create)


@router.get("", responses=responses(*DENIED))
async def list_scans(
    caller: ScansReader,
    work: Reading,
    plant: Plant,
    page: Scrolled,
    status: StatusFilter | None = None,
    target_id: Annotated[str | None, Query(alias="targetId", max_length=64)] = None,
    runner_id: Annotated[str | None, Query(alias="runnerId", max_length=64)] = None,
) -> ScanList:
    """Newest first. `status` also takes `queued` and `provisioning`; with `runnerId`, scans that this runner has had in hand.

    `cursor` goes on where `nextCursor` of an answer says."""
    wanted = None if status is None else _ALIASES.get(status) or ScanStatus(status)
    scans, total = await store.list_scans(work, caller.organization_id, wanted, target_id, page, runner_id)
    shown, after = page.cut(scans, store.cursor_after)
    return ScanList(scans=await show(work, plant, shown), next_cursor=after, **page.counted(total))


@router.get("/load", responses=responses(*DENIED))
async def get_scan_load(caller: ScansReader, work: Reading, plant: Plant) -> ScanLoad:
    """How many slots were in use and how many scans waited, every half hour of the last 24 h."""
    lived = over_time.longest_life(plant.settings.timers)
    return ScanLoad(moments=await over_time.read_load(work, caller.organization_id, over_time.moments(work.now), lived))


@router.get("/{id}", responses=responses(*DENIED, ScanNotFound, Overloaded), response_model=ScanAnswer)
async def get_scan(id: str, caller: ScansReader, plant: Plant, held: HeldOpen) -> Response:
    """One scan; while it waits, `waitingFor` says for what. With `wait`, the answer comes when something has changed."""

    async def look(work: Work) -> Shown:
        scan = await store.get(work, caller.organization_id, id)
        return Shown(ScanAnswer(scan=(await show(work, plant, [scan]))[0]), f"{scan.attempt} {scan.status}", scan.is_final)

    return await held.read(caller, look, log_topic(id))


@router.post("/{id}/cancel", responses=responses(*DENIED, ScanNotFound, ScanAlreadyEnded))
async def cancel_scan(id: str, caller: ScansWriter, work: Writing, plant: Plant) -> ScanAnswer:
    """End a queued scan at once; tell the runner of a running one to stop. Forced after 120 s. A repeat is harmless."""
    scan = await store.get_locked(work, caller.organization_id, id)
    if scan.is_final and scan.status is not ScanStatus.CANCELLED:
        raise ScanAlreadyEnded(f"This scan has ended already: {scan.status}.")
    if scan.status is ScanStatus.PENDING_RUNNER:
        await conclude(work, scan, cancelled(EndReason.CANCELED_BY_USER, None), actor=caller.actor, cancel_requested_at=work.now)
    elif not scan.is_final and await store.request_cancel(work, scan, EndReason.CANCELED_BY_USER):
        tell(work, scan, "cancel_requested")
        subject = ("scan", scan.id)
        await audit.record(work, caller.organization_id, caller.actor, "scan.cancel_requested", subject, caller.request_id)
    return ScanAnswer(scan=(await show(work, plant, [await store.get(work, caller.organization_id, id)]))[0])


@router.get("/{id}/attempts", responses=responses(*DENIED, ScanNotFound))
async def list_scan_attempts(id: str, caller: ScansReader, work: Reading) -> AttemptList:
    """Every attempt of a scan, the first one first; none while it waits for its first runner."""
    scan = await store.get(work, caller.organization_id, id)
    return AttemptList(attempts=[shown_attempt(*known) for known in await store.list_attempts(work, scan.id)])


@router.get(
    "/{id}/log",
    response_model=ScanLog,
    responses={
        200: {"content": {"text/event-stream": {"schema": {"type": "string"}, "example": 'id: 1\nevent: log\ndata: {"seq":1}\n\n'}}},
        **responses(*DENIED, ScanNotFound, Overloaded),
    },
)
async def read_scan_log(
    id: str,
    request: Request,
    caller: ScansReader,
    work: Reading,
    plant: Plant,
    after: Annotated[int, Query(ge=0, le=2**31 - 1)] = 0,
    attempt: Annotated[int | None, Query(ge=0, le=2**31 - 1)] = None,
    cursor: Annotated[str | None, Query(max_length=MAX_CURSOR, description="`nextCursor` of an answer; in place of `after`.")] = None,
    of: Annotated[int | None, Query(ge=1, le=2**31 - 1, description="One attempt's log, also when it is over. Not for streams.")] = None,
    limit: Annotated[int, Query(ge=1, le=store.LOG_BATCH, description="Not for streams.")] = store.LOG_BATCH,
    accept: Annotated[str, Header(include_in_schema=False)] = "application/json",
    last_event_id: Annotated[str | None, Header(alias="Last-Event-ID")] = None,
) -> ScanLog | Response:
    """Events of the current attempt after `after`, at most 1,000; with `Accept: text/event-stream` as they come, until the scan ends.

    Each attempt counts from 1. With `attempt`, the one that `after` was read of, a new attempt is told from its beginning.
    """
    scan = await store.get(work, caller.organization_id, id)
    if cursor is not None:
        attempt, after = place_of(cursor, _LOG_PLACE)
    if "text/event-stream" in accept.lower():
        seen = _log_mark(last_event_id) or (attempt, after)
        return EventStream(plant.parking, _follow(request, caller, plant, scan.id, *seen))
    wanted = of or scan.attempt
    after = after if attempt in (None, wanted) else 0
    events = [{**event, "at": format_instant(event["at"])} for event in await store.list_events(work, scan.id, wanted, after, limit)]
    told = await store.find_attempt(work, scan.id, wanted)
    # Whoever asks beyond the end is told where it is, not what they asked.
    last_seq = events[-1]["seq"] if events else min(after, told.last_seq if told else 0)
    gaps = gaps_of(told) if told is not None else []
    return ScanLog(attempt=wanted, events=events, last_seq=last_seq, next_cursor=cursor_at(wanted, last_seq), gaps=gaps)


async def _follow(
    request: Request, caller: Caller, plant: Resources, scan_id: ScanId, attempt: int | None, after: int
) -> AsyncIterator[str]:
    with plant.signals.listening(log_topic(scan_id)) as listener:
        silent = 0.0
        while not (plant.signals.is_closed or await request.is_disconnected()):
            try:
                async with plant.database.reading() as work:
                    if not await is_still_valid(work, caller):
                        return
                    scan = await store.get(work, caller.organization_id, scan_id)
                    after = after if attempt in (None, scan.attempt) else 0
                    attempt, events = scan.attempt, await store.list_events(work, scan.id, scan.attempt, after)
            except DatabaseUnavailable:
                return  # the client resumes where it was
            for event in events:
                after, silent = event["seq"], 0.0
                yield _written(event)
            if scan.is_final and not events:
                yield _ending(scan)
                return
            if not events and not await listener.wait(POLL_SECONDS):
                silent += POLL_SECONDS
                if silent >= KEEP_ALIVE_SECONDS:
                    silent = 0.0
                    yield ": keep-alive\n\n"


def _log_mark(last_event_id: str | None) -> tuple[int, int] | None:
    """Attempt and number of the event that a client saw last."""
    mark = resume_mark(last_event_id)
    return None if mark is None else (mark // _EVENTS_OF_AN_ATTEMPT + 1, mark % _EVENTS_OF_AN_ATTEMPT)


def _written(event: dict[str, Any]) -> str:
    data = json.dumps(event, default=format_instant, separators=(",", ":"))
    # One row of numbers over all attempts; within the first it is the event's own.
    mark = (event["attempt"] - 1) * _EVENTS_OF_AN_ATTEMPT + event["seq"]
    return f"id: {mark}\nevent: {event['type']}\ndata: {data}\n\n"


def _ending(scan: ScanFacts) -> str:
    data = json.dumps({"status": scan.status, "endReason": scan.end_reason}, separators=(",", ":"))
    return f"event: end\ndata: {data}\n\n"
