"""The two calls about a runner that end its leases: revoke (people) and goodbye (the runner itself)."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Body

from apviso.protocol.daemon import Goodbye, GoodbyeAnswer
from apviso.protocol.states import EndReason
from apviso.server.access import CallingRunner, DaemonCaller, RunnersWriter
from apviso.server.audit import store as audit
from apviso.server.db.engine import Work
from apviso.server.errors import (
    BodyTooLarge,
    CredentialInvalid,
    CredentialMissing,
    InsufficientScope,
    InvalidFields,
    MalformedJson,
    RateLimited,
    RunnerNotFound,
    RunnerRevoked,
    WrongCredential,
    responses,
)
from apviso.server.resources import Plant, Writing
from apviso.server.runners import store as runners
from apviso.server.runners.watch import observe, policy_of
from apviso.server.scans.ending import release
from apviso.server.signals import jobs_topic, runner_topic

router = APIRouter()
_CREDENTIAL = (CredentialMissing, CredentialInvalid, WrongCredential, RateLimited)


@router.delete(
    "/api/v1/runners/{id}", status_code=204, tags=["runners"], responses=responses(*_CREDENTIAL, InsufficientScope, RunnerNotFound)
)
async def revoke_runner(id: str, caller: RunnersWriter, work: Writing, plant: Plant) -> None:
    """Revoke a runner for good: its token dies at once and its leases end. A repeat is harmless."""
    runner = await runners.get(work, caller.organization_id, id)
    if not await runners.revoke(work, caller.organization_id, runner.id):
        return
    # It may not have heard yet: other attempts wait until it must have stopped by itself.
    jobs = await release(
        work, plant, runner.id, EndReason.RUNNER_REVOKED, "The runner was revoked.", actor=caller.actor, is_confirmed=False
    )
    await observe(work, await runners.get(work, caller.organization_id, runner.id), policy_of(plant))
    subject = ("runner", runner.id)
    await audit.record(
        work, caller.organization_id, caller.actor, "runner.revoked", subject, caller.request_id, name=runner.name, jobs=jobs
    )
    work.hints.update((jobs_topic(caller.organization_id), runner_topic(runner.id)))


@router.post(
    "/api/runner/goodbye", tags=["daemon"], responses=responses(*_CREDENTIAL, RunnerRevoked, MalformedJson, BodyTooLarge, InvalidFields)
)
async def say_goodbye(
    caller: CallingRunner,
    work: Writing,
    plant: Plant,
    goodbye: Annotated[Goodbye | None, Body(examples=[{"reason": "host update"}])] = None,
) -> GoodbyeAnswer:
    """A clean shutdown, said after everything has stopped: leases are released at once and the runner is offline.

    A goodbye of any boot but the one that reports changes nothing.
    """
    if goodbye is not None and await _is_of_another_boot(work, caller, goodbye):
        return GoodbyeAnswer(released_jobs=[])
    message = (goodbye.reason if goodbye else None) or "The runner shut down."
    jobs = await release(work, plant, caller.id, EndReason.RUNNER_SHUTDOWN, message, actor=caller.actor, is_confirmed=True)
    await runners.record_goodbye(work, caller.id)
    work.hints.add(jobs_topic(caller.organization_id))
    await observe(work, await runners.get(work, caller.organization_id, caller.id), policy_of(plant))
    await audit.record(work, caller.organization_id, caller.actor, "runner.goodbye", ("runner", caller.id), caller.request_id, jobs=jobs)
    return GoodbyeAnswer(released_jobs=jobs)


async def _is_of_another_boot(work: Work, caller: DaemonCaller, goodbye: Goodbye) -> bool:
    # It can only speak for what it ran itself; the scans of the present boot go on. Several may have come and gone since it was said.
    runner = await runners.get(work, caller.organization_id, caller.id)
    return None not in (goodbye.boot_id, runner.boot_id) and goodbye.boot_id != runner.boot_id
