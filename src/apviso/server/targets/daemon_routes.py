"""Targets, for runners: which applications this runner may be sent, so that their credentials can be set up beside it."""

from __future__ import annotations

from fastapi import APIRouter

from apviso.protocol.states import Visibility
from apviso.protocol.targets import JobTargetAnswer, JobTargetList
from apviso.server.access import CallingRunner, DaemonCaller
from apviso.server.db.engine import Work
from apviso.server.errors import (
    CredentialInvalid,
    CredentialMissing,
    RateLimited,
    RunnerRevoked,
    TargetNotFound,
    WrongCredential,
    responses,
)
from apviso.server.resources import Reading
from apviso.server.targets import store
from apviso.server.targets.store import job_target

router = APIRouter(prefix="/api/runner/targets", tags=["daemon"])
DENIED = (CredentialMissing, CredentialInvalid, WrongCredential, RunnerRevoked, RateLimited)


@router.get("", responses=responses(*DENIED))
async def list_runner_targets(caller: CallingRunner, work: Reading) -> JobTargetList:
    """Every target whose visibility this runner says it can reach; all of them where it says nothing."""
    targets = await store.list_of(work, caller.organization_id, await _reachable(work, caller))
    return JobTargetList(targets=[job_target(target) for target in targets])


@router.get("/{id}", responses=responses(*DENIED, TargetNotFound))
async def get_runner_target(id: str, caller: CallingRunner, work: Reading) -> JobTargetAnswer:
    """One target that this runner may be sent."""
    target = await store.get(work, caller.organization_id, id)
    if target.visibility not in await _reachable(work, caller):
        raise TargetNotFound("This runner does not reach targets of that visibility.")
    return JobTargetAnswer(target=job_target(target))


async def _reachable(work: Work, caller: DaemonCaller) -> frozenset[Visibility]:
    named = (await store.capabilities_of(work, caller.id)).get("targetVisibilities")
    return frozenset(kind for kind in Visibility if not isinstance(named, list) or kind in named)
