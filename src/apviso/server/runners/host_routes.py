"""What somebody at a runner's host may want of it: the same as people of the control plane, unless those have decided otherwise."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Body

from apviso.protocol.daemon import HostAnswer
from apviso.protocol.runners import Drain, Pause
from apviso.server.access import CallingRunner, DaemonCaller
from apviso.server.audit import store as audit
from apviso.server.db.engine import Work
from apviso.server.errors import AdminStateHeld, BodyTooLarge, InvalidFields, MalformedJson, responses
from apviso.server.resources import Plant, Resources, Writing
from apviso.server.runners import store
from apviso.server.runners.daemon_routes import DENIED
from apviso.server.runners.history import ADMIN_ACTIONS, may_its_host_change
from apviso.server.runners.wishes import change, draining, paused, resumed

_EVER = datetime.min.replace(tzinfo=UTC)
router = APIRouter(prefix="/api/runner", tags=["daemon"])
REFUSALS = (*DENIED, MalformedJson, BodyTooLarge, InvalidFields, AdminStateHeld)


@router.post("/pause", responses=responses(*REFUSALS))
async def pause_itself(
    caller: CallingRunner, work: Writing, plant: Plant, pause: Annotated[Pause | None, Body(examples=[{"note": "kernel update"}])] = None
) -> HostAnswer:
    """Give this runner no new scans; those that run go on. Wanted at its host (`apviso pause`)."""
    return await _change(work, plant, caller, "runner.paused", paused(pause or Pause(), work.now))


@router.post("/drain", responses=responses(*REFUSALS))
async def drain_itself(
    caller: CallingRunner, work: Writing, plant: Plant, drain: Annotated[Drain | None, Body(examples=[{"deadlineSeconds": 1800}])] = None
) -> HostAnswer:
    """Finish what runs and take nothing new. Wanted at its host (`apviso drain`)."""
    return await _change(work, plant, caller, "runner.draining", draining(drain or Drain(), work.now))


@router.post("/resume", responses=responses(*REFUSALS))
async def resume_itself(caller: CallingRunner, work: Writing, plant: Plant) -> HostAnswer:
    """Give it scans again. What people of the control plane have decided, and a quarantine, is ended by them alone."""
    return await _change(work, plant, caller, "runner.resumed", resumed(work.now))


async def _change(work: Work, plant: Resources, caller: DaemonCaller, action: str, values: dict[str, Any]) -> HostAnswer:
    await store.lock(work, caller.id)
    runner = await store.get(work, caller.organization_id, caller.id)
    trail = await audit.list_of_runner(work, caller.organization_id, caller.id, ADMIN_ACTIONS, _EVER)
    if not may_its_host_change(runner.admin_state, trail[-1].actor if trail else None, caller.actor):
        raise AdminStateHeld
    # A runner that is resumed already is not noted as resumed again: what failed at once would be forgotten with it.
    if (runner.admin_state, action) != (values["admin_state"], "runner.resumed"):
        runner = await change(work, plant, caller, runner, action, values)
    return HostAnswer(
        admin_state=runner.admin_state, admin_note=runner.admin_note, admin_until=runner.admin_until, drain_deadline=runner.drain_deadline
    )
