"""The runner's own calls that concern no scan: heartbeat and token rotation. Goodbye ends leases, so it is in `scans`."""

from __future__ import annotations

from typing import Annotated

import structlog
from fastapi import APIRouter, Body, Request

from apviso.protocol.daemon import BeatingRunner, Heartbeat, HeartbeatAnswer, NewRunnerToken
from apviso.protocol.tokens import Namespace, new_token
from apviso.protocol.wire import JobId, RunnerId
from apviso.server.access import CallingRunner
from apviso.server.audit import store as audit
from apviso.server.db.engine import Work
from apviso.server.errors import (
    BodyTooLarge,
    CredentialInvalid,
    CredentialMissing,
    InvalidFields,
    MalformedJson,
    RateLimited,
    RunnerRevoked,
    WrongCredential,
    responses,
)
from apviso.server.resources import Plant, Resources, Writing
from apviso.server.runners import store
from apviso.server.runners.boots import duplicate_seen_at, next_boots
from apviso.server.runners.directives import directives_for
from apviso.server.runners.facts import RunnerFacts
from apviso.server.runners.roll_call import has_answered, unknown_jobs
from apviso.server.runners.watch import observe, policy_of
from apviso.server.signals import jobs_topic, runner_topic, stream_topic

log = structlog.get_logger("apviso.runners")
router = APIRouter(prefix="/api/runner", tags=["daemon"])
DENIED = (CredentialMissing, CredentialInvalid, WrongCredential, RunnerRevoked, RateLimited)
EXAMPLE = {
    "bootId": "0f6d1c3e-8a52-4b0e-9a55-1d1d2c7f3b11",
    "beatSeq": 42,
    "version": "0.1.0",
    "configuredConcurrency": 1,
    "currentJobs": 0,
    "runningJobs": [],
    "providerState": {"modelProvider": "openai-codex", "embeddingProvider": "local"},
    "capabilities": {"localProviderSecrets": True, "localTargetAuthConfig": True},
    "health": {"diskFreeBytes": 107374182400, "clockSkewMs": 3},
    "lastClaimPollAgeMs": 800,
}


@router.post("/heartbeat", responses=responses(*DENIED, MalformedJson, BodyTooLarge, InvalidFields))
async def heartbeat(
    request: Request, beat: Annotated[Heartbeat, Body(examples=[EXAMPLE])], caller: CallingRunner, plant: Plant, work: Writing
) -> HeartbeatAnswer:
    """Say that the runner is alive and how it is; the answer says what is wanted of it. Never lists secrets."""
    await store.lock(work, caller.id)
    known = await store.get(work, caller.organization_id, caller.id)
    duplicate_for = plant.settings.timers.duplicate_identity_remembered
    boots = next_boots(known, beat.boot_id, request.client.host if request.client else None, work.now)
    await store.record_heartbeat(work, known, beat, duplicate_seen_at(known, beat.boot_id, work.now, duplicate_for), boots)
    await _note_gap(work, plant, known)
    to_stop = await _hear_roll_call(work, plant, known, beat)
    runner = await store.get(work, caller.organization_id, caller.id)
    presence = await observe(work, runner, policy_of(plant))
    if known.observed_status is not presence.status:
        work.hints.add(jobs_topic(caller.organization_id))
    if known.boot_id != runner.boot_id:
        # Another process may remember the boot before.
        work.hints.add(runner_topic(caller.id))
    directives = await directives_for(work, plant, runner)
    answer = HeartbeatAnswer(
        runner=BeatingRunner(id=runner.id, status=presence.status),
        heartbeat_interval_ms=plant.pace.interval_ms,
        directives=directives.model_copy(update={"cancel_jobs": [*directives.cancel_jobs, *to_stop]}) if to_stop else directives,
        server_time=work.now,
    )
    # Its next heartbeat is judged by how this one left it.
    work.afterwards.append(lambda: plant.beats.forget(caller.id))
    return answer


async def _hear_roll_call(work: Work, plant: Resources, known: RunnerFacts, beat: Heartbeat) -> list[JobId]:
    """In a roll call, what the runner has to stop: until it has, it is waited for.

    Nobody of its organization is given a scan meanwhile, so that no attempt of the same job can have begun since it spoke.
    """
    if known.roll_call_until is None or known.roll_call_until <= work.now:
        return []
    held = await store.list_held_jobs(work, known.id)
    if has_answered(beat, held):
        await store.answer_roll_call(work, known.id)
        if await plant.roll_call.until(work, known.organization_id) is None:
            # It was the last one that claims waited for. Of two that answer at the same moment the sweep finds out.
            work.hints.update((jobs_topic(known.organization_id), stream_topic(known.organization_id)))
        return []
    unknown = unknown_jobs(beat, held)
    log.warning("runner runs what the records do not know; it is told to stop", runner_id=known.id, jobs=unknown)
    return unknown


async def _note_gap(work: Work, plant: Resources, known: RunnerFacts) -> None:
    if known.last_heartbeat_at is not None and work.now - known.last_heartbeat_at > plant.pace.timers.heartbeat_late_after:
        await store.add_gap(work, known.id, known.last_heartbeat_at)


@router.post("/token", responses=responses(*DENIED))
async def rotate_token(caller: CallingRunner, plant: Plant, work: Writing) -> NewRunnerToken:
    """A new runner token. The one used for this call works until the new one is first used, at most 24 hours."""
    token, until = new_token(Namespace.RUNNER), work.now + plant.settings.timers.token_overlap
    runner_id = RunnerId(caller.id)
    await store.lock(work, runner_id)
    await store.drop_unused_tokens(work, runner_id, except_prefix=caller.token.prefix)
    await store.limit_token(work, caller.token.prefix, until)
    await store.add_token(work, runner_id, token)
    work.hints.add(runner_topic(runner_id))
    subject = ("runner", caller.id)
    await audit.record(work, caller.organization_id, caller.actor, "runner.token_rotated", subject, caller.request_id, prefix=token.prefix)
    return NewRunnerToken(token=token.reveal(), token_prefix=token.prefix, previous_valid_until=until)
