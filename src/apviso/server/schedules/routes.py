"""Schedules, for people: make, look, change, delete, and what became of each run."""

from __future__ import annotations

from itertools import islice
from typing import Annotated

import uuid_utils
from fastapi import APIRouter, Body, Query

from apviso.protocol.schedules import (
    DetailedSchedule,
    NewSchedule,
    Schedule,
    ScheduleAnswer,
    ScheduleList,
    SchedulePatch,
    ScheduleRunList,
)
from apviso.protocol.wire import ScheduleId
from apviso.server.access import Caller, ScansReader, ScansWriter
from apviso.server.audit import store as audit
from apviso.server.db.engine import Work
from apviso.server.errors import (
    AlreadyIssued,
    BodyTooLarge,
    CredentialInvalid,
    CredentialMissing,
    IdempotencyKeyReused,
    InsufficientScope,
    InvalidFields,
    MalformedJson,
    RateLimited,
    RunnerNotFound,
    ScheduleNotFound,
    TargetNotFound,
    WrongCredential,
    field_refused,
    responses,
)
from apviso.server.idempotency import Idempotent
from apviso.server.paging import Paged
from apviso.server.resources import Reading, Writing
from apviso.server.runners import store as runners
from apviso.server.schedules import store
from apviso.server.schedules.editing import change, make
from apviso.server.schedules.facts import ScheduleFacts
from apviso.server.schedules.timing import upcoming
from apviso.server.targets import store as targets

router = APIRouter(prefix="/api/v1/schedules", tags=["schedules"])
DENIED = (CredentialMissing, CredentialInvalid, WrongCredential, InsufficientScope, InvalidFields, RateLimited)
CHANGE = (*DENIED, MalformedJson, BodyTooLarge, RunnerNotFound)
MOST_OF_A_TARGET = 20
RUNS_SHOWN = 5
NEW_EXAMPLE = {
    "targetId": "01890a5d-ac96-774b-bcce-b302099a8057",
    "frequency": "weekly",
    "dayOfWeek": 0,
    "hour": 2,
    "minute": 30,
    "modelPreset": "low",
}


@router.post("", status_code=201, responses=responses(*CHANGE, TargetNotFound, AlreadyIssued, IdempotencyKeyReused))
async def create_schedule(
    wanted: Annotated[NewSchedule, Body(examples=[NEW_EXAMPLE])], caller: ScansWriter, work: Writing, once: Idempotent
) -> ScheduleAnswer:
    """Scan a target again and again: by `frequency` and `hour`, or by a `cron` expression, in UTC unless `timeZone` says otherwise."""

    async def create() -> ScheduleAnswer:
        target = await targets.get_locked(work, caller.organization_id, wanted.target_id)
        await _check_runner(work, caller, wanted.runner_id)
        schedule = make(ScheduleId(str(uuid_utils.uuid7())), caller.organization_id, wanted, work.now)
        if await store.count_of_target(work, target.id) >= MOST_OF_A_TARGET:
            raise field_refused("targetId", f"has {MOST_OF_A_TARGET} schedules already; delete one of them first")
        await store.add(work, schedule)
        await _record(work, caller, "schedule.created", schedule)
        return await _answer(work, schedule)

    return await once.create(ScheduleAnswer, create)


@router.get("", responses=responses(*DENIED))
async def list_schedules(
    caller: ScansReader, work: Reading, page: Paged, target_id: Annotated[str | None, Query(alias="targetId", max_length=64)] = None
) -> ScheduleList:
    """All schedules, or those of one target, newest first."""
    found, total = await store.list_page(work, caller.organization_id, target_id, page)
    runs = await store.list_last_runs(work, [schedule.id for schedule in found])
    shown = [Schedule(**vars(schedule), last_run=runs.get(schedule.id)) for schedule in found]
    return ScheduleList(schedules=shown, **page.counted(total))


@router.get("/{id}", responses=responses(*DENIED, ScheduleNotFound))
async def get_schedule(id: str, caller: ScansReader, work: Reading) -> ScheduleAnswer:
    """One schedule, with the next five times at which it is due."""
    return await _answer(work, await store.get(work, caller.organization_id, id))


@router.patch("/{id}", responses=responses(*CHANGE, ScheduleNotFound))
async def edit_schedule(
    id: str, patch: Annotated[SchedulePatch, Body(examples=[{"enabled": False}])], caller: ScansWriter, work: Writing
) -> ScheduleAnswer:
    """Change what is given. When it is due next is worked out anew where that has changed."""
    schedule = await store.get_locked(work, caller.organization_id, id)
    await _check_runner(work, caller, patch.runner_id)
    changed = change(schedule, patch, work.now)
    values = {name: value for name, value in vars(changed).items() if value != getattr(schedule, name)}
    if values:
        await store.edit(work, schedule, **values)
        await _record(work, caller, "schedule.edited", schedule, **{name: str(value) for name, value in values.items()})
    return await _answer(work, changed)


@router.delete("/{id}", status_code=204, responses=responses(*DENIED, ScheduleNotFound))
async def delete_schedule(id: str, caller: ScansWriter, work: Writing) -> None:
    """Delete a schedule and the account of its runs. Scans that it has started stay."""
    schedule = await store.get_locked(work, caller.organization_id, id)
    await store.remove(work, schedule)
    await _record(work, caller, "schedule.deleted", schedule)


@router.get("/{id}/runs", responses=responses(*DENIED, ScheduleNotFound))
async def list_schedule_runs(id: str, caller: ScansReader, work: Reading, page: Paged) -> ScheduleRunList:
    """What became of each run that was due, newest first: the scan that it started, or why there is none."""
    schedule = await store.get(work, caller.organization_id, id)
    runs, total = await store.list_runs(work, schedule, page)
    return ScheduleRunList(runs=runs, **page.counted(total))


async def _check_runner(work: Work, caller: Caller, runner_id: str | None) -> None:
    if runner_id is not None:
        await runners.get(work, caller.organization_id, runner_id)


async def _answer(work: Work, schedule: ScheduleFacts) -> ScheduleAnswer:
    # One that is due and about to be run is the first of them.
    due = [] if schedule.next_run_at is None else [schedule.next_run_at]
    later = islice(upcoming(schedule.timing, due[0]), RUNS_SHOWN - 1) if due else ()
    last_run = (await store.list_last_runs(work, [schedule.id])).get(schedule.id)
    return ScheduleAnswer(schedule=DetailedSchedule(**vars(schedule), last_run=last_run, next_runs=[*due, *later]))


async def _record(work: Work, caller: Caller, action: str, schedule: ScheduleFacts, **details: str) -> None:
    details = {"targetId": schedule.target_id, **details}
    await audit.record(work, caller.organization_id, caller.actor, action, ("schedule", schedule.id), caller.request_id, **details)
