"""Collects what a readiness answer depends on, in one transaction."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from statistics import median

from apviso.protocol.licenses import License
from apviso.protocol.readiness import Readiness
from apviso.protocol.wire import OrganizationId, RunnerId, ScanId, TargetId
from apviso.server.db.engine import Work
from apviso.server.errors import RunnerNotFound
from apviso.server.licensing.current import current_license, shown_license
from apviso.server.organizations import store as organizations
from apviso.server.readiness import store
from apviso.server.readiness.assessment import Candidate, Question, TargetFacts, assess_each
from apviso.server.resources import Resources
from apviso.server.runners.fleet import current
from apviso.server.runners.records import Records
from apviso.server.targets import store as targets
from apviso.server.targets.facts import KnownTarget
from apviso.server.targets.proof import lost_at

Ends = dict[RunnerId, list[datetime]]
# What is told of an organization that nothing blocks.
READY = "ready"
# A dozen milliseconds. More runners are judged in a thread, beside which others are answered.
MOST_AT_ONCE = 2_000


async def gather(
    work: Work,
    plant: Resources,
    organization_id: OrganizationId,
    target: str | KnownTarget | None = None,
    runner_id: str | None = None,
    *,
    is_brief: bool = False,
) -> Question:
    """The question for one organization; the target by its id, or as it was read just now. Raises RunnerNotFound and TargetNotFound."""
    records = await current(plant, organization_id)
    if runner_id is not None and not records.has(runner_id):
        raise RunnerNotFound
    facts = None if target is None else await _facts_now(work, organization_id, target)
    ends = await expected_ends(work, organization_id)
    return replace(
        question_of(records, await current_license(work, plant, organization_id), work.now, ends),
        target=facts,
        requested_runner_id=RunnerId(runner_id) if runner_id is not None else None,
        is_brief=is_brief,
    )


def question_of(records: Records, held: License, now: datetime, ends: Ends) -> Question:
    """Whether any scan could start. Without the ends of what runs there is no estimate, and everything else is the same."""
    known = records.all()
    candidates = [Candidate(one.facts, one.presence, tuple(ends.get(one.facts.id, ()))) for one in known]
    return Question(license=held, live_leases=sum(one.facts.live_leases for one in known), candidates=candidates, now=now)


async def judged(question: Question) -> Readiness:
    return (await judged_each([question]))[0]


async def judged_each(questions: Sequence[Question]) -> list[Readiness]:
    """Of one fleet. The rule takes frozen facts and looks at no clock, so that a thread may do it while others are answered."""
    if sum(len(question.candidates) for question in questions[:1]) <= MOST_AT_ONCE:
        return assess_each(questions)
    return await asyncio.to_thread(assess_each, questions)


async def readiness_of(plant: Resources, organization_id: OrganizationId, records: Records, *, is_brief: bool = False) -> Readiness:
    """Whether any scan could start now, without an estimate. While one could, it is judged anew only when something changes that counts."""
    held = await shown_license(plant, organization_id)
    made, key = records.made_of_standing, (READY, is_brief)
    known: Readiness | None = made.get(key)
    if known is not None and known.license == held:
        return known
    readiness = await judged(replace(question_of(records, held, plant.database.clock(), {}), is_brief=is_brief))
    if readiness.ready and made is records.made_of_standing:
        made[key] = readiness
    return readiness


async def _facts_now(work: Work, organization_id: OrganizationId, target: str | KnownTarget) -> TargetFacts:
    known = target if isinstance(target, KnownTarget) else await targets.get(work, organization_id, target)
    return (await _facts_of(work, organization_id, [known], ()))[known.id]


async def target_facts(
    work: Work, organization_id: OrganizationId, target_ids: Collection[TargetId], for_scans: Collection[ScanId]
) -> dict[TargetId, TargetFacts]:
    """Of those that the organization has. The scans are those that the question is about: they do not count as others of their targets."""
    found = await targets.list_by_id(work, organization_id, target_ids)
    return await _facts_of(work, organization_id, found.values(), for_scans)


async def _facts_of(
    work: Work, organization_id: OrganizationId, known: Collection[KnownTarget], for_scans: Collection[ScanId]
) -> dict[TargetId, TargetFacts]:
    organization = await organizations.get(work, organization_id)
    touched = await store.touches(work, [target.id for target in known], for_scans)
    return {target.id: _facts(target, organization.requires_verification, touched.get(target.id)) for target in known}


def _facts(target: KnownTarget, needs_proof: bool, touch: store.Touch | None) -> TargetFacts:
    facts = TargetFacts(target.visibility, target.verified_at is not None, needs_proof, lost_at(target), windows=target.scan_windows)
    return facts if touch is None else replace(facts, is_idle=False, idle_after=touch.until)


async def expected_ends(work: Work, organization_id: OrganizationId) -> Ends:
    """When the running scans may end, by the median of the latest durations; nothing where there is no experience."""
    durations = await store.recent_durations(work, organization_id)
    if not durations:
        return {}
    usual, ends = timedelta(seconds=median(durations)), dict[RunnerId, list[datetime]]()
    for runner_id, started_at in await store.running_since(work, organization_id):
        ends.setdefault(runner_id, []).append(max(work.now, started_at + usual))
    return ends
