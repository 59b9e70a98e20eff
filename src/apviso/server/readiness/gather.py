"""Collects what a readiness answer depends on, in one transaction."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from statistics import median

from apviso.protocol.wire import OrganizationId, RunnerId, ScanId
from apviso.server.db.engine import Work
from apviso.server.errors import RunnerNotFound
from apviso.server.licensing.current import current_license
from apviso.server.organizations import store as organizations
from apviso.server.readiness import store
from apviso.server.readiness.assessment import Candidate, Question, TargetFacts
from apviso.server.resources import Resources
from apviso.server.runners import store as runners
from apviso.server.runners.presence import presence_of
from apviso.server.runners.watch import policy_of
from apviso.server.targets import store as targets


async def gather(
    work: Work,
    plant: Resources,
    organization_id: OrganizationId,
    target_id: str | None = None,
    runner_id: str | None = None,
    *,
    for_scan: ScanId | None = None,
    not_before: datetime | None = None,
) -> Question:
    """The question for one organization; `for_scan` does not count as another scan of its target.

    Raises RunnerNotFound and TargetNotFound.
    """
    policy = policy_of(plant)
    known = await runners.list_runners(work, organization_id)
    if runner_id is not None and all(runner.id != runner_id for runner in known):
        raise RunnerNotFound
    ends = await _expected_ends(work, organization_id)
    return Question(
        license=await current_license(work, plant, organization_id),
        live_leases=sum(runner.live_leases for runner in known),
        candidates=[Candidate(runner, presence_of(runner, work.now, policy), tuple(ends.get(runner.id, ()))) for runner in known],
        now=work.now,
        target=await target_facts(work, organization_id, target_id, for_scan) if target_id is not None else None,
        requested_runner_id=RunnerId(runner_id) if runner_id is not None else None,
        not_before=not_before,
    )


async def target_facts(work: Work, organization_id: OrganizationId, target_id: str, for_scan: ScanId | None) -> TargetFacts:
    target = await targets.get(work, organization_id, target_id)
    organization = await organizations.get(work, organization_id)
    facts = TargetFacts(target.visibility, target.verified_at is not None, organization.requires_verification)
    touched = await store.touched_until(work, target.id, for_scan)
    return facts if touched is None else replace(facts, is_idle=False, idle_after=touched.until)


async def _expected_ends(work: Work, organization_id: OrganizationId) -> dict[RunnerId, list[datetime]]:
    """When the running scans may end, by the median of the latest durations; nothing where there is no experience."""
    durations = await store.recent_durations(work, organization_id)
    if not durations:
        return {}
    usual, ends = timedelta(seconds=median(durations)), dict[RunnerId, list[datetime]]()
    for runner_id, started_at in await store.running_since(work, organization_id):
        ends.setdefault(runner_id, []).append(max(work.now, started_at + usual))
    return ends
