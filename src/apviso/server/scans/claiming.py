"""Hands jobs to runners: each claim one attempt, several claims in one transaction; the same nonce gets the same claim again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial

from apviso.protocol.daemon import Claim, ClaimAnswer, ClaimedJob, ClaimedScan, Directives, Job, ScanImage
from apviso.protocol.licenses import License
from apviso.protocol.limits import PRESETS
from apviso.protocol.states import EndReason, ScanStatus, Visibility
from apviso.protocol.tokens import Namespace, Token
from apviso.protocol.wire import OrganizationId, ScanId, TargetId
from apviso.server.access import DaemonCaller
from apviso.server.audit import store as audit
from apviso.server.audit.store import SYSTEM
from apviso.server.db.engine import Work
from apviso.server.errors import RunnerRevoked
from apviso.server.licensing.current import license_in_use
from apviso.server.metrics import CLAIMS, jobs_claimed
from apviso.server.organizations import store as organizations
from apviso.server.organizations.store import Organization
from apviso.server.resources import Resources
from apviso.server.runners import store as runners
from apviso.server.runners.directives import directives_for
from apviso.server.runners.facts import RunnerFacts
from apviso.server.runners.presence import presence_of
from apviso.server.runners.watch import policy_of
from apviso.server.scans import retesting, store
from apviso.server.scans.ending import conclude, tell
from apviso.server.scans.facts import AttemptFacts, NewAttempt, ScanFacts
from apviso.server.scans.leases import why_not_claim
from apviso.server.scans.lifecycle import cancelled
from apviso.server.scans.matching import Taker, WaitingScan, match, may_take
from apviso.server.targets import store as targets
from apviso.server.targets.facts import KnownTarget
from apviso.server.targets.proof import is_needed
from apviso.server.waiting import Outcome

# How long a look at an organization's queue is good for where no hint says otherwise: delays run out without one.
OUTLOOK_KEPT = timedelta(seconds=2)
UNPROVED = "Control of the target is not proved."


@dataclass(frozen=True)
class Outlook:
    """What an organization's runners can have, as seen at `at`: scans that wait, and what its license leaves.

    Nothing during a roll call.
    """

    at: datetime
    scans: Sequence[WaitingScan]
    license: License
    live_leases: int
    is_roll_call: bool = False


@dataclass(eq=False)
class Ticket:
    """A claim and how the runner stands that makes it: what it may take, why nothing, and what it should be told."""

    caller: DaemonCaller
    claim: Claim
    runner: RunnerFacts
    directives: Directives
    is_gone: Callable[[], Awaitable[bool]]
    refusal: str | None = None
    visibilities: frozenset[Visibility] = frozenset()
    repeated: AttemptFacts | None = None
    # Before it is judged nobody knows whether it may have anything; whoever serves its line judges it.
    is_judged: bool = False

    def judge(self, plant: Resources, outlook: Outlook, now: datetime) -> None:
        self.is_judged = True
        presence = presence_of(self.runner, now, policy_of(plant))
        self.refusal = why_not_claim(
            self.runner,
            presence,
            outlook.license,
            outlook.live_leases,
            self.claim.free_slots,
            now,
            is_roll_call=outlook.is_roll_call,
        )
        self.visibilities = reachable(self.runner, outlook.license)

    def answer(self) -> ClaimAnswer:
        """That there is no job."""
        return ClaimAnswer(job=None, not_accepting=self.refusal, directives=self.directives)


def reachable(runner: RunnerFacts, held: License) -> frozenset[Visibility]:
    return frozenset(visibility for visibility in held.allowed_target_visibilities if runner.can_reach(visibility))


async def look_out(work: Work, plant: Resources, organization_id: OrganizationId, claims: int = 1) -> Outlook:
    """`claims`: how many want something; of each kind of scans no more are looked for."""
    scans = await store.list_claimable(work, organization_id, claims, other_since(plant, work.now))
    held, live = await license_in_use(work, plant, organization_id)
    is_roll_call = await plant.roll_call.until(work, organization_id) is not None
    return Outlook(work.now, scans, held, live, is_roll_call)


def fresh_outlook(plant: Resources, organization_id: OrganizationId) -> Outlook | None:
    """What was seen last, if it still holds."""
    seen: Outlook | None = plant.waiting.line(organization_id).seen
    return seen if seen is not None and timedelta(0) <= plant.database.clock() - seen.at <= OUTLOOK_KEPT else None


async def look(plant: Resources, caller: DaemonCaller, claim: Claim, is_gone: Callable[[], Awaitable[bool]]) -> Ticket:
    """Judge the runner without changing anything. Raises RunnerRevoked."""
    moment = plant.waiting.moment
    async with plant.database.reading(is_brief=True) as work:
        runner = await runners.get(work, caller.organization_id, caller.id)
        if runner.revoked_at is not None:
            # Revoked while its poll was held open.
            raise RunnerRevoked.of(is_retired=runner.retired_at is not None)
        outlook = await look_out(work, plant, caller.organization_id)
        ticket = Ticket(caller, claim, runner, await directives_for(work, plant, runner), is_gone)
        ticket.judge(plant, outlook, work.now)
        ticket.repeated = await store.find_claim(work, caller.id, claim.nonce)
    plant.waiting.see(caller.organization_id, outlook, moment)
    return ticket


async def answer(
    plant: Resources, caller: DaemonCaller, claim: Claim, wait_seconds: float, is_gone: Callable[[], Awaitable[bool]]
) -> ClaimAnswer:
    """A job, as soon as there is one for this runner; news of a cancel; or, after `wait_seconds`, that there is none and why."""
    deadline = asyncio.get_running_loop().time() + wait_seconds
    known = None if claim.known_cancels is None else set(claim.known_cancels)
    while True:
        ticket = await look(plant, caller, claim, is_gone)
        if ticket.repeated is not None:
            again = await _repeat(plant, ticket, ticket.repeated)
            if again.job is not None:
                return again
            ticket.refusal = again.not_accepting
        cancelled: set[str] = set(ticket.directives.cancel_jobs)
        # Whoever does not say what it knows has heard of these by its heartbeat.
        known = cancelled if known is None else known
        if cancelled - known:
            return ticket.answer()
        given = await stand_in_line(plant, ticket, deadline)
        if isinstance(given, ClaimAnswer):
            return given
        # Nobody would hear of the job: it is for the next who asks.
        if given is not Outcome.LOOK_AGAIN or await is_gone():
            return ticket.answer()


async def stand_in_line(plant: Resources, ticket: Ticket, deadline: float) -> ClaimAnswer | Outcome:
    """Wait until `deadline` of the loop's clock; where there may be something now, at least until it is known whether there is."""
    organization_id, runner_id = ticket.caller.organization_id, ticket.caller.id
    since = other_since(plant, plant.database.clock())
    while True:
        left = deadline - asyncio.get_running_loop().time()
        # Who waits hears of what comes while a look is still good; who does not is told how it is now.
        outlook = fresh_outlook(plant, organization_id) if ticket.is_judged or left > 0 else None
        if outlook is not None and not ticket.is_judged:
            ticket.judge(plant, outlook, outlook.at)
        wants_word = ticket.refusal is None and (
            outlook is None or any(may_take(scan, runner_id, ticket.visibilities, since) for scan in outlook.scans)
        )
        if left <= 0 and not wants_word:
            return Outcome.TIME_IS_UP
        holds_jobs = ticket.runner.live_leases > 0
        with plant.waiting.place(organization_id, runner_id, ticket, wants_word=wants_word, holds_jobs=holds_jobs) as place:
            given: ClaimAnswer | Outcome = await place.wait(max(left, 0))
        if given is not Outcome.NOTHING_NOW or left <= 0:
            return given


async def take(
    work: Work, plant: Resources, organization_id: OrganizationId, wanted: Sequence[tuple[ScanId, Ticket]]
) -> dict[Ticket, ClaimAnswer]:
    """Claim these scans for these tickets of one organization, all in one transaction, in which everything is judged again.

    A ticket that is not among the answers got nothing: it has to look again.
    """
    await runners.lock(work, *sorted({ticket.caller.id for _, ticket in wanted}))
    organization = await organizations.lock(work, organization_id)
    if await plant.roll_call.until(work, organization_id) is not None:
        return {}
    held, live = await license_in_use(work, plant, organization_id)
    takers = await _takers(work, plant, organization_id, [ticket for _, ticket in wanted], held, live)
    if not takers:
        return {}
    scans, kept = await store.lock_claimable(work, organization_id, {scan_id for scan_id, _ in wanted})
    pairs = match(scans, takers, other_since(plant, work.now), held.concurrent_job_limit - live)
    proved = [(scan, ticket) for scan, ticket in pairs if await _is_permitted(work, organization, scan, kept[scan.target_id])]
    return await _assign(work, plant, organization_id, proved, kept) if proved else {}


async def _is_permitted(work: Work, organization: Organization, scan: ScanFacts, target: KnownTarget) -> bool:
    """A scan of a target whose proof was lost, or is asked for since it was queued, ends here: no waiting would mend it."""
    if target.verified_at is not None or not is_needed(target, is_required=organization.requires_verification):
        return True
    await conclude(work, scan, cancelled(EndReason.CANCELED_BY_POLICY, UNPROVED), actor=SYSTEM)
    return False


def other_since(plant: Resources, now: datetime) -> datetime:
    return now - plant.settings.timers.prefer_other_runner_for


async def _takers(
    work: Work, plant: Resources, organization_id: OrganizationId, tickets: Sequence[Ticket], held: License, live: int
) -> list[Taker[Ticket]]:
    ids, nonces = {ticket.caller.id for ticket in tickets}, {ticket.claim.nonce for ticket in tickets}
    found, used = await runners.list_claiming(work, organization_id, ids, nonces)
    policy, takers = policy_of(plant), list[Taker[Ticket]]()
    for ticket in tickets:
        runner, claim = found[ticket.caller.id], (ticket.caller.id, ticket.claim.nonce)
        if claim in used or runner.revoked_at is not None:
            continue
        # One nonce, one claim, however often it is asked for at the same time.
        used.add(claim)
        if why_not_claim(runner, presence_of(runner, work.now, policy), held, live, ticket.claim.free_slots, work.now) is None:
            takers.append(Taker(runner.id, reachable(runner, held), ticket, runner.free_slots))
    return takers


async def _assign(
    work: Work,
    plant: Resources,
    organization_id: OrganizationId,
    pairs: Sequence[tuple[ScanFacts, Ticket]],
    kept: Mapping[TargetId, KnownTarget],
) -> dict[Ticket, ClaimAnswer]:
    made = [
        NewAttempt(scan, ticket.caller.id, ticket.claim.nonce, _job_token(ticket.caller, scan.id, scan.attempt + 1))
        for scan, ticket in pairs
    ]
    await store.assign(work, made)
    await store.add_attempts(work, made, work.now + plant.settings.timers.lease)
    await targets.record_scans(work, {scan.target_id for scan, _ in pairs})
    answers: dict[Ticket, ClaimAnswer] = {}
    entries = []
    for attempt, (scan, ticket) in zip(made, pairs, strict=True):
        assigned = replace(scan, status=ScanStatus.ASSIGNED, attempt=scan.attempt + 1, runner_id=ticket.caller.id, not_before=None)
        tell(work, assigned, "assigned")
        details = {"attempt": assigned.attempt, "targetId": scan.target_id}
        entries.append(audit.Entry(ticket.caller.actor, ("scan", scan.id), ticket.caller.request_id, details))
        job = await _job(work, plant, assigned, kept[scan.target_id], ticket.caller, attempt.job_token)
        answers[ticket] = ClaimAnswer(job=job, directives=ticket.directives)
    await audit.record_all(work, organization_id, "scan.assigned", entries)
    queued = [(work.now - scan.created_at).total_seconds() for scan, _ in pairs if scan.attempt == 0]
    work.afterwards.append(partial(jobs_claimed, len(pairs), queued))
    return answers


async def _repeat(plant: Resources, ticket: Ticket, attempt: AttemptFacts) -> ClaimAnswer:
    """The answer to an earlier claim was lost: the same job, unless its lease is gone."""
    caller = ticket.caller

    async def unit() -> ClaimAnswer:
        async with plant.database.writing() as work:
            await runners.lock(work, caller.id)
            scan = await store.get(work, caller.organization_id, attempt.scan_id)
            live = await store.find_live(work, scan)
            if live is None or (live.runner_id, live.number) != (caller.id, attempt.number):
                return ClaimAnswer(job=None, not_accepting="claim_ended", directives=ticket.directives)
            token = _job_token(caller, scan.id, live.number)
            if token.prefix != live.job_token_prefix:
                await store.edit_attempt(work, live, job_token_prefix=token.prefix, job_token_sha256=token.digest())
            target = await targets.get(work, caller.organization_id, scan.target_id)
            work.afterwards.append(CLAIMS.labels("repeat").inc)
            return ClaimAnswer(job=await _job(work, plant, scan, target, caller, token), directives=ticket.directives)

    return await plant.database.again(unit)


def _job_token(caller: DaemonCaller, scan_id: ScanId, attempt: int) -> Token:
    # Derived, not drawn: a repeated claim gets the same token although only its digest is kept.
    return caller.token.derive(Namespace.JOB, f"{scan_id}:{attempt}")


async def _job(work: Work, plant: Resources, scan: ScanFacts, target: KnownTarget, caller: DaemonCaller, token: Token) -> Job:
    timers = plant.settings.timers
    again = await retesting.list_findings(work, scan)
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
