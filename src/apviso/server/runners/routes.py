"""One runner, for people: look, edit, pause, resume, drain, rotate, history. The list is in `readiness`, revoking in `scans`."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Body, Query
from fastapi.responses import Response

from apviso.protocol.runners import Drain, HealthSample, Pause, RunnerAnswer, RunnerHealth, RunnerHistory, RunnerPatch
from apviso.protocol.wire import Instant
from apviso.server.access import Caller, RunnersReader, RunnersWriter
from apviso.server.audit import store as audit
from apviso.server.blocking import HeldOpen, Shown
from apviso.server.db.engine import Work
from apviso.server.errors import (
    BodyTooLarge,
    CredentialInvalid,
    CredentialMissing,
    InsufficientScope,
    InvalidFields,
    MalformedJson,
    Overloaded,
    RateLimited,
    RunnerIsRevoked,
    RunnerNotFound,
    WrongCredential,
    responses,
)
from apviso.server.localtime import next_turn, read_windows
from apviso.server.resources import Plant, Reading, Resources, Writing
from apviso.server.runners import store
from apviso.server.runners.health import begin_of, quarter_of
from apviso.server.runners.history import ADMIN_ACTIONS, BAR, BARS, admin_change, open_gap, uptime_ratio
from apviso.server.runners.presence import limits_of, presence_of
from apviso.server.runners.view import wire
from apviso.server.runners.watch import policy_of
from apviso.server.runners.wishes import change, draining, paused, resumed
from apviso.server.signals import runner_topic

READ = (CredentialMissing, CredentialInvalid, WrongCredential, InsufficientScope, RunnerNotFound, InvalidFields, RateLimited)
CHANGE = (*READ, MalformedJson, RunnerIsRevoked, BodyTooLarge)
router = APIRouter(prefix="/api/v1/runners", tags=["runners"])
DEFAULT_HISTORY = timedelta(days=7)


@router.get("/{id}", responses=responses(*READ, Overloaded), response_model=RunnerAnswer)
async def get_runner(id: str, caller: RunnersReader, plant: Plant, held: HeldOpen) -> Response:
    """One runner, as it stands now. With `wait`, the answer comes when something has changed."""

    async def look(work: Work) -> Shown:
        answer = await _show(work, plant, caller, id)
        return Shown(answer, answer.runner.status)

    return await held.read(caller, look, runner_topic(id))


@router.patch("/{id}", responses=responses(*CHANGE))
async def edit_runner(
    id: str,
    patch: Annotated[RunnerPatch, Body(examples=[{"labels": ["datacenter-1"]}])],
    caller: RunnersWriter,
    work: Writing,
    plant: Plant,
) -> RunnerAnswer:
    """Rename, relabel, or allow fewer scans at once than the runner offers (`maxConcurrency: null` lifts that).

    In its `maintenanceWindows` it takes no new scan; those that run go on.
    """
    given = patch.model_dump(include=patch.model_fields_set)
    values = {name: value for name, value in given.items() if value is not None or name == "max_concurrency"}
    if patch.maintenance_windows is not None:
        values["maintenance_windows"] = kept = [window.model_dump(by_alias=True) for window in patch.maintenance_windows]
        values["maintenance_turns_at"] = next_turn(read_windows(kept), work.now)
    return await _change(work, plant, caller, id, "runner.edited", values) if values else await _show(work, plant, caller, id)


@router.post("/{id}/pause", responses=responses(*CHANGE))
async def pause_runner(
    id: str,
    caller: RunnersWriter,
    work: Writing,
    plant: Plant,
    pause: Annotated[Pause | None, Body(examples=[{"note": "kernel update"}])] = None,
) -> RunnerAnswer:
    """Give this runner no new scans; those that run go on."""
    return await _change(work, plant, caller, id, "runner.paused", paused(pause or Pause(), work.now))


@router.post("/{id}/resume", responses=responses(*CHANGE))
async def resume_runner(id: str, caller: RunnersWriter, work: Writing, plant: Plant) -> RunnerAnswer:
    """Give it scans again, after pause, drain or quarantine."""
    return await _change(work, plant, caller, id, "runner.resumed", resumed(work.now))


@router.post("/{id}/drain", responses=responses(*CHANGE))
async def drain_runner(
    id: str,
    caller: RunnersWriter,
    work: Writing,
    plant: Plant,
    drain: Annotated[Drain | None, Body(examples=[{"deadlineSeconds": 1800}])] = None,
) -> RunnerAnswer:
    """Finish what runs and take nothing new; at the deadline the runner gives back what it has not finished, or it is taken from it."""
    return await _change(work, plant, caller, id, "runner.draining", draining(drain or Drain(), work.now))


@router.post("/{id}/rotate-token", responses=responses(*CHANGE))
async def rotate_runner_token(id: str, caller: RunnersWriter, work: Writing, plant: Plant) -> RunnerAnswer:
    """Tell the runner to fetch a new token with its next heartbeat; no person sees it."""
    return await _change(work, plant, caller, id, "runner.token_rotation_requested", {"rotate_requested_at": work.now})


@router.get("/{id}/history", responses=responses(*READ))
async def get_runner_history(
    id: str, caller: RunnersReader, work: Reading, plant: Plant, since: Annotated[Instant | None, Query()] = None
) -> RunnerHistory:
    """Status intervals with their reasons, uptime, heartbeat gaps, and what was wanted of it; the last seven days unless `since` says."""
    runner = await store.get(work, caller.organization_id, id)
    begin: datetime = since or work.now - DEFAULT_HISTORY
    intervals = await store.list_intervals(work, runner.id, begin)
    gaps = await store.list_gaps(work, runner.id, begin)
    lasting = open_gap(runner.last_heartbeat_at, plant.pace.timers.heartbeat_late_after.total_seconds(), work.now)
    if lasting is not None and runner.revoked_at is None:
        gaps.append(lasting)
    trail = await audit.list_of_runner(work, caller.organization_id, runner.id, ADMIN_ACTIONS, begin)
    return RunnerHistory(
        intervals=intervals,
        uptime_ratio=uptime_ratio(intervals, begin, work.now),
        heartbeat_gaps=gaps,
        admin_changes=[admin_change(event) for event in trail],
        limits=limits_of(policy_of(plant)),
    )


@router.get("/{id}/health", responses=responses(*READ))
async def get_runner_health(id: str, caller: RunnersReader, work: Reading) -> RunnerHealth:
    """What it said of its health over the last day, once in a quarter of an hour: disk, memory, load, clock, and what waits to be sent."""
    runner = await store.get(work, caller.organization_id, id)
    last = quarter_of(work.now)
    first = last - BARS + 1
    kept = await store.list_samples(work, runner.id, first, last)
    return RunnerHealth(
        since=begin_of(first),
        sample_seconds=int(BAR.total_seconds()),
        samples=[HealthSample(at=begin_of(quarter), **sample._asdict()) for quarter, sample in kept],
    )


async def _show(work: Work, plant: Resources, caller: Caller, runner_id: str) -> RunnerAnswer:
    runner = await store.get(work, caller.organization_id, runner_id)
    return RunnerAnswer(runner=wire(runner, presence_of(runner, work.now, policy_of(plant)), work.now))


async def _change(work: Work, plant: Resources, caller: Caller, runner_id: str, action: str, values: dict[str, Any]) -> RunnerAnswer:
    runner = await store.get(work, caller.organization_id, runner_id)
    await change(work, plant, caller, runner, action, values)
    return await _show(work, plant, caller, runner_id)
