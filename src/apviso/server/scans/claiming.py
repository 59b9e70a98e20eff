"""Hands jobs to runners: one claim, one transaction, one attempt; the same nonce gets the same claim again."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from prometheus_client import Counter

from apviso.protocol.daemon import Claim, ClaimAnswer, ClaimedJob, ClaimedScan, Directives, Job, ScanImage
from apviso.protocol.limits import PRESETS
from apviso.protocol.states import Visibility
from apviso.protocol.tokens import Namespace, Token
from apviso.protocol.wire import ScanId
from apviso.server.access import DaemonCaller
from apviso.server.audit import store as audit
from apviso.server.db import findings
from apviso.server.db.engine import Work
from apviso.server.errors import RunnerRevoked
from apviso.server.licensing.current import current_license
from apviso.server.organizations import store as organizations
from apviso.server.resources import Resources
from apviso.server.runners import store as runners
from apviso.server.runners.daemon_routes import directives_for
from apviso.server.runners.facts import RunnerFacts
from apviso.server.runners.presence import presence_of
from apviso.server.runners.watch import policy_of
from apviso.server.scans import store
from apviso.server.scans.ending import tell
from apviso.server.scans.facts import AttemptFacts, ScanFacts
from apviso.server.scans.leases import why_not_claim
from apviso.server.targets import store as targets

CLAIMS = Counter("apviso_claims_total", "Claims answered", ["result"])


@dataclass(frozen=True)
class Standing:
    """How a claiming runner stands: what it may take, why nothing, and what it should be told."""

    runner: RunnerFacts
    refusal: str | None
    visibilities: list[Visibility]
    directives: Directives
    has_work: bool
    repeated: AttemptFacts | None


async def look(work: Work, plant: Resources, caller: DaemonCaller, claim: Claim) -> Standing:
    """Judge the runner without changing anything; most polls of a waiting fleet end here."""
    runner = await runners.get(work, caller.organization_id, caller.id)
    if runner.revoked_at is not None:
        # Revoked while its poll was held open.
        raise RunnerRevoked
    held = await current_license(work, plant, caller.organization_id)
    live = await store.count_live(work, caller.organization_id)
    refusal = why_not_claim(runner, presence_of(runner, work.now, policy_of(plant)), held, live, claim.free_slots, work.now)
    visibilities = [visibility for visibility in held.allowed_target_visibilities if runner.can_reach(visibility)]
    has_work = refusal is None and await store.has_claimable(
        work, caller.organization_id, caller.id, visibilities, _other_since(work.now, plant)
    )
    repeated = await store.find_claim(work, caller.id, claim.nonce)
    return Standing(runner, refusal, visibilities, await directives_for(work, plant, runner), has_work, repeated)


def _other_since(now: datetime, plant: Resources) -> datetime:
    return now - plant.settings.timers.prefer_other_runner_for


async def take(work: Work, plant: Resources, caller: DaemonCaller, claim: Claim) -> ClaimAnswer:
    """Claim a job if there is one. Everything is judged again inside this transaction."""
    await runners.lock(work, caller.id)
    await organizations.lock(work, caller.organization_id)
    standing = await look(work, plant, caller, claim)
    if standing.repeated is not None:
        return await _repeat(work, plant, caller, standing, standing.repeated)
    scan = None
    if standing.has_work:
        scan = await store.find_claimable(work, caller.organization_id, caller.id, standing.visibilities, _other_since(work.now, plant))
    if scan is None or not await store.assign(work, scan, caller.id):
        return ClaimAnswer(job=None, not_accepting=standing.refusal, directives=standing.directives)
    token = _job_token(caller, scan.id, scan.attempt + 1)
    await store.add_attempt(work, scan, caller.id, claim.nonce, token, work.now + plant.settings.timers.lease)
    await targets.record_scan(work, scan.target_id)
    assigned = await store.get(work, caller.organization_id, scan.id)
    tell(work, assigned, "assigned")
    subject, details = ("scan", scan.id), {"attempt": assigned.attempt, "targetId": scan.target_id}
    await audit.record(work, caller.organization_id, caller.actor, "scan.assigned", subject, caller.request_id, **details)
    CLAIMS.labels("job").inc()
    return ClaimAnswer(job=await _job(work, plant, assigned, caller, token), directives=standing.directives)


async def _repeat(work: Work, plant: Resources, caller: DaemonCaller, standing: Standing, attempt: AttemptFacts) -> ClaimAnswer:
    """The answer to an earlier claim was lost: the same job, unless its lease is gone."""
    scan = await store.get(work, caller.organization_id, attempt.scan_id)
    if attempt.ended_at is not None or scan.attempt != attempt.number:
        return ClaimAnswer(job=None, not_accepting="claim_ended", directives=standing.directives)
    token = _job_token(caller, scan.id, attempt.number)
    if token.prefix != attempt.job_token_prefix:
        await store.edit_attempt(work, attempt, job_token_prefix=token.prefix, job_token_sha256=token.digest())
    CLAIMS.labels("repeat").inc()
    return ClaimAnswer(job=await _job(work, plant, scan, caller, token), directives=standing.directives)


def _job_token(caller: DaemonCaller, scan_id: ScanId, attempt: int) -> Token:
    # Derived, not drawn: a repeated claim gets the same token although only its digest is kept.
    return caller.token.derive(Namespace.JOB, f"{scan_id}:{attempt}")


async def _job(work: Work, plant: Resources, scan: ScanFacts, caller: DaemonCaller, token: Token) -> Job:
    timers = plant.settings.timers
    target = await targets.get(work, scan.organization_id, scan.target_id)
    again = await findings.list_to_retest(work, scan.target_id, scan.finding_ids, scan.parent_scan_id) if scan.is_retest else []
    return Job(
        job=ClaimedJob(
            id=scan.job_id,
            runner_id=caller.id,
            attempt=scan.attempt,
            lease_seconds=int(timers.lease.total_seconds()),
            renew_after_seconds=int(timers.renew_after.total_seconds()),
        ),
        scan=ClaimedScan(id=scan.id, model_preset=scan.model_preset, is_retest=scan.is_retest, retest_findings=again),
        target=targets.job_target(target),
        image=_named_image(plant.settings.scan_image),
        limits=PRESETS[scan.model_preset],
        job_token=token.reveal(),
    )


def _named_image(image: str | None) -> ScanImage | None:
    """The runner judges it by its own policy; its signature lies beside it in the registry."""
    if image is None:
        return None
    ref, _, digest = image.partition("@")
    return ScanImage(ref=ref, digest=digest)
