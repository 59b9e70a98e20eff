"""Keeps runners from scans that fail them at once, and gives them back when a scan has shown that they work: with trail and word."""

from __future__ import annotations

from typing import Any

from apviso.protocol.runners import Quarantine
from apviso.protocol.states import AdminState, EndReason
from apviso.server.audit import store as audit
from apviso.server.db.engine import Work
from apviso.server.resources import Resources
from apviso.server.runners import store as runners
from apviso.server.runners.facts import RunnerFacts
from apviso.server.runners.watch import observe, policy_of
from apviso.server.scans import store
from apviso.server.scans.breaker import Ending, Sign, has_passed, quarantine_for, sign_of, told
from apviso.server.scans.facts import AttemptFacts, ScanFacts
from apviso.server.signals import jobs_topic
from apviso.server.stream import store as stream


async def judge_runner(
    work: Work, plant: Resources, runner: RunnerFacts, scan: ScanFacts, attempt: AttemptFacts, reason: EndReason, message: str | None
) -> None:
    """What this end of an attempt means for the runner as it was read."""
    timers = plant.settings.timers
    latest = Ending.of(scan, attempt, reason, message, work.now)
    if has_passed(runner, latest, work.now, timers):
        await _restore(work, runner)
    elif sign_of(latest, timers) is Sign.FAILS:
        earlier = await store.list_endings(work, attempt, work.now - timers.fast_failures_remembered)
        quarantine = quarantine_for(runner, latest, earlier, work.now, timers)
        if quarantine is not None:
            await _quarantine(work, plant, runner, quarantine)


async def _quarantine(work: Work, plant: Resources, runner: RunnerFacts, quarantine: Quarantine) -> None:
    kept = quarantine.model_dump(mode="json", by_alias=True)
    wanted = {"admin_state": AdminState.QUARANTINED, "admin_note": told(quarantine), "admin_until": quarantine.until}
    if not await runners.edit_as_read(work, runner, **wanted, drain_deadline=None, quarantine=kept):
        return
    await observe(work, await runners.get(work, runner.organization_id, runner.id), policy_of(plant))
    await _tell(work, runner, "runner.quarantined", reason=told(quarantine), **kept)


async def _restore(work: Work, runner: RunnerFacts) -> None:
    if await runners.edit_as_read(work, runner, quarantine=None):
        await _tell(work, runner, "runner.resumed", reason="A scan has shown that it works.")


async def _tell(work: Work, runner: RunnerFacts, action: str, **details: Any) -> None:
    await audit.record(work, runner.organization_id, audit.SYSTEM, action, ("runner", runner.id), None, **details)
    stream.publish(work, runner.organization_id, action, runnerId=runner.id, name=runner.name, **details)
    work.hints.add(jobs_topic(runner.organization_id))
