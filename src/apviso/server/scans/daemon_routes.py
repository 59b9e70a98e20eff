"""A runner's calls for its jobs: claim, renew, preflight, start, finish. Every call names its attempt; events are in `findings`."""

from __future__ import annotations

import re
import time
from typing import Annotated

from fastapi import APIRouter, Body, Query, Request

from apviso.protocol.daemon import (
    MAX_CLAIM_WAIT_SECONDS,
    AttemptCall,
    Claim,
    ClaimAnswer,
    Finish,
    JobState,
    LeaseAnswer,
    Preflight,
    Start,
)
from apviso.protocol.states import EndReason, ScanStatus
from apviso.server.access import CallingRunner, DaemonCaller, JobHolder
from apviso.server.audit import store as audit
from apviso.server.correlation import belongs_to
from apviso.server.db.engine import Work
from apviso.server.errors import (
    BodyTooLarge,
    CredentialInvalid,
    CredentialMissing,
    EventsMissing,
    InvalidFields,
    JobNotFound,
    LeaseLost,
    MalformedJson,
    Overloaded,
    RateLimited,
    RunnerRevoked,
    ScanAlreadyStarted,
    ScanNotStarted,
    WrongCredential,
    responses,
)
from apviso.server.metrics import claim_answered
from apviso.server.resources import Plant, Writing
from apviso.server.scans import claiming, store
from apviso.server.scans.ending import conclude, end_attempt, tell
from apviso.server.scans.facts import AttemptFacts, ScanFacts
from apviso.server.scans.leases import holder_of
from apviso.server.scans.lifecycle import Outcome

router = APIRouter(prefix="/api/runner/jobs", tags=["daemon"])
DENIED = (CredentialMissing, CredentialInvalid, WrongCredential, RunnerRevoked, RateLimited, MalformedJson, BodyTooLarge, InvalidFields)
ON_A_JOB = (*DENIED, JobNotFound, LeaseLost)


@router.post("/claim", responses=responses(*DENIED, Overloaded))
async def claim_job(
    request: Request,
    claim: Annotated[Claim, Body(examples=[{"nonce": "8d1c5b7e9f", "freeSlots": 1}])],
    caller: CallingRunner,
    plant: Plant,
    wait: Annotated[float, Query(ge=0, le=MAX_CLAIM_WAIT_SECONDS)] = 0,
) -> ClaimAnswer:
    """Wait up to `wait` seconds for a job. A runner that may not claim waits too, and is told why in `notAccepting`.

    The same nonce again returns the same claim. A cancel that `knownCancels` does not name ends the wait at once.
    """
    plant.parking.enter()
    request.state.parked = True
    request.state.step_out()
    began = time.monotonic()
    try:
        answer = await claiming.answer(plant, caller, claim, wait, request.is_disconnected)
        claim_answered(answer, time.monotonic() - began)
        return answer
    finally:
        plant.parking.leave()


async def held(work: Work, caller: DaemonCaller, job_id: str, number: int) -> tuple[ScanFacts, AttemptFacts]:
    """The scan and the live attempt behind a call. Raises JobNotFound for a job that was never this runner's, else LeaseLost."""
    scan, attempt = await of_caller(work, caller, job_id, number)
    return scan, holder_of(scan, attempt, caller.id)


async def of_caller(work: Work, caller: DaemonCaller, job_id: str, number: int) -> tuple[ScanFacts, AttemptFacts | None]:
    scan = await store.find_by_job(work, caller.organization_id, job_id)
    if scan is None or not await store.has_worked_on(work, scan.id, caller.id):
        raise JobNotFound
    belongs_to(organization_id=caller.organization_id, runner_id=caller.id, job_id=scan.job_id)
    attempt = await store.find_attempt(work, scan.id, number)
    return scan, attempt if attempt is not None and attempt.runner_id == caller.id else None


async def _state(work: Work, scan: ScanFacts) -> JobState:
    now = await store.get(work, scan.organization_id, scan.id)
    return JobState(scan_id=now.id, status=now.status, cancel_requested_at=now.cancel_requested_at)


@router.post("/{id}/lease", responses=responses(*ON_A_JOB))
async def renew_lease(
    id: str, call: Annotated[AttemptCall, Body(examples=[{"attempt": 1}])], caller: JobHolder, plant: Plant, work: Writing
) -> LeaseAnswer:
    """Renew the lease. A lease that had run out is renewed too, as long as no other attempt has begun."""
    scan, attempt = await held(work, caller, id, call.attempt)
    lease = plant.settings.timers.lease
    if not await store.edit_attempt(work, attempt, renewed_at=work.now, lease_expires_at=work.now + lease):
        raise LeaseLost
    if scan.status is ScanStatus.STALE and await store.move(work, scan, ScanStatus.RUNNING, status_reason=None):
        tell(work, scan, "resumed")
    return LeaseAnswer(
        lease_expires_at=work.now + lease, lease_seconds=int(lease.total_seconds()), cancel_requested_at=scan.cancel_requested_at
    )


@router.post("/{id}/preflight", responses=responses(*ON_A_JOB, ScanAlreadyStarted))
async def report_preflight(
    id: str,
    preflight: Annotated[Preflight, Body(examples=[{"attempt": 1, "ok": True, "checks": {"target": {"ok": True, "message": "answers"}}}])],
    caller: JobHolder,
    plant: Plant,
    work: Writing,
) -> JobState:
    """Say what the checks before the scan found. A failed preflight ends the scan; nothing has touched the target yet.

    Of an attempt that has started, only a repeat of what passed is taken: its runner may be touching the target.
    """
    scan, attempt = await held(work, caller, id, preflight.attempt)
    if attempt.started_at is not None:
        if not preflight.ok:
            raise ScanAlreadyStarted
        return await _state(work, scan)
    told = preflight.model_dump(mode="json", by_alias=True, exclude={"attempt"})
    await store.edit_attempt(work, attempt, preflight=told)
    if not preflight.ok:
        reason = ": ".join(filter(None, [preflight.error_code, preflight.error_message])) or _first_failure(preflight)
        await store.end_attempt(work, attempt, EndReason.PREFLIGHT_FAILED, work.now, told)
        outcome = Outcome(ScanStatus.PREFLIGHT_FAILED, EndReason.PREFLIGHT_FAILED, reason)
        await conclude(work, scan, outcome, actor=caller.actor, attempt_ended_for=EndReason.PREFLIGHT_FAILED)
    return await _state(work, scan)


def _first_failure(preflight: Preflight) -> str | None:
    return next((f"{name}: {check.message}"[:2000] for name, check in preflight.checks.items() if not check.ok), None)


@router.post("/{id}/start", responses=responses(*ON_A_JOB))
async def start_job(
    id: str,
    start: Annotated[Start, Body(examples=[{"attempt": 1, "runtimeMetadata": {"engine": "docker"}}])],
    caller: JobHolder,
    work: Writing,
) -> JobState:
    """The scan begins now. Nothing may touch the target before this was answered; calling it again is harmless."""
    scan, attempt = await held(work, caller, id, start.attempt)
    if scan.status is ScanStatus.ASSIGNED:
        await store.edit_attempt(work, attempt, started_at=work.now, runtime_metadata=start.runtime_metadata)
        digest = _image_digest(start)
        await store.move(
            work, scan, ScanStatus.RUNNING, started_at=scan.started_at or work.now, status_reason=None, scan_image_digest=digest
        )
        tell(work, scan, "started")
        subject = ("scan", scan.id)
        await audit.record(work, caller.organization_id, caller.actor, "scan.started", subject, caller.request_id, attempt=attempt.number)
    return await _state(work, scan)


def _image_digest(start: Start) -> str | None:
    """The digest of the image that runs, as the runner tells it; None for scans that run without one."""
    told = start.runtime_metadata.get("imageDigest")
    return told if isinstance(told, str) and re.fullmatch(r"sha256:[0-9a-f]{64}", told) else None


@router.post("/{id}/finish", responses=responses(*ON_A_JOB, EventsMissing, ScanNotStarted))
async def finish_job(
    id: str,
    finish: Annotated[
        Finish,
        Body(examples=[{"attempt": 1, "status": "completed", "endReason": "completed", "lastSeq": 1, "coverage": {"complete": True}}]),
    ],
    caller: JobHolder,
    plant: Plant,
    work: Writing,
) -> JobState:
    """End the attempt, once all its events are stored. The same finish again is answered as before."""
    scan, attempt = await of_caller(work, caller, id, finish.attempt)
    # As an older control plane kept it, so that a repeat is known again.
    told = finish.model_dump(mode="json", by_alias=True, exclude=None if finish.looks else {"looks"})
    if attempt is not None and attempt.ended_at is not None and attempt.finish == told:
        return await _state(work, scan)
    attempt = holder_of(scan, attempt, caller.id)
    if finish.last_seq > attempt.last_seq:
        raise EventsMissing(expectedSeq=attempt.last_seq + 1)
    if finish.status == "completed" and attempt.started_at is None:
        raise ScanNotStarted
    message = ": ".join(filter(None, [finish.error_code, finish.error_message])) or None
    await store.edit_attempt(work, attempt, runtime_metadata=finish.runtime_metadata)
    await end_attempt(
        work,
        plant,
        scan,
        attempt,
        finish.end_reason,
        message,
        actor=caller.actor,
        is_confirmed=True,
        finish=told,
        coverage=finish.coverage.model_dump(mode="json"),
    )
    return await _state(work, scan)
