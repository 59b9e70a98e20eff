"""Ends attempts: the one place where an attempt's end becomes the scan's next state, with its trail."""

from __future__ import annotations

from typing import Any

from apviso.protocol.states import EndReason
from apviso.protocol.wire import FindingId, JobId, RunnerId
from apviso.server import metrics
from apviso.server.audit import store as audit
from apviso.server.db.engine import Work
from apviso.server.db.retests import Verdict
from apviso.server.resources import Resources
from apviso.server.runners import store as runners
from apviso.server.runners.facts import RunnerFacts
from apviso.server.scans import retesting, store
from apviso.server.scans.facts import AttemptFacts, ScanFacts
from apviso.server.scans.leases import silent_at
from apviso.server.scans.lifecycle import Outcome, after_attempt
from apviso.server.scans.quarantining import judge_runner
from apviso.server.signals import jobs_topic, log_topic, runner_topic
from apviso.server.stream import store as stream


async def end_attempt(
    work: Work,
    plant: Resources,
    scan: ScanFacts,
    attempt: AttemptFacts,
    reason: EndReason,
    message: str | None,
    *,
    actor: str,
    is_confirmed: bool,
    finish: dict[str, Any] | None = None,
    **values: Any,
) -> Outcome | None:
    """End a live attempt and move its scan on. None when it had ended already, and then nothing changes."""
    timers = plant.settings.timers
    silent = silent_at(attempt, work.now, timers, is_confirmed=is_confirmed)
    if not await store.end_attempt(work, attempt, reason, silent, finish):
        return None
    work.afterwards.append(metrics.ENDINGS.labels(reason).inc)
    outcome = after_attempt(scan, reason, message, work.now, silent, timers, was_started=attempt.started_at is not None)
    await conclude(work, scan, outcome, actor=actor, attempt_ended_for=str(reason), finish=finish, **values)
    runner = await runners.get(work, scan.organization_id, attempt.runner_id)
    await _retire_if_ephemeral(work, attempt, runner)
    await judge_runner(work, plant, runner, scan, attempt, reason, message)
    return outcome


async def conclude(
    work: Work,
    scan: ScanFacts,
    outcome: Outcome,
    *,
    actor: str,
    attempt_ended_for: str | None = None,
    finish: dict[str, Any] | None = None,
    **values: Any,
) -> bool:
    """Move a scan to `outcome`, final or back to the queue. False when it had moved on meanwhile."""
    verdicts: dict[FindingId, Verdict] = {}
    if outcome.is_retry:
        values = {
            "not_before": outcome.not_before,
            "avoid_runner_id": scan.runner_id,
            "runner_id": None,
            "infrastructure_failures": scan.infrastructure_failures + (1 if outcome.is_failure_counted else 0),
        }
    else:
        verdicts = await retesting.decide(work, scan, outcome, finish)
        values |= {"finished_at": work.now}
        if verdicts:
            values["coverage"] = retesting.coverage_of(values.get("coverage"), verdicts)
    if not await store.move(work, scan, outcome.status, end_reason=outcome.end_reason, status_reason=outcome.reason, **values):
        return False
    await retesting.keep(work, scan, verdicts)
    tell(work, scan, "requeued" if outcome.is_retry else outcome.status, endReason=outcome.end_reason, reason=outcome.reason)
    details = {"status": outcome.status, "endReason": outcome.end_reason, "attempt": scan.attempt, "attemptEndedFor": attempt_ended_for}
    action = "scan.requeued" if outcome.is_retry else "scan.ended"
    await audit.record(work, scan.organization_id, actor, action, ("scan", scan.id), None, **details)
    return True


def tell(work: Work, scan: ScanFacts, what: str, **data: Any) -> None:
    """Put a change of a scan on the live stream, and wake everyone who may wait for it."""
    stream.publish(
        work,
        scan.organization_id,
        f"scan.{what}",
        scanId=scan.id,
        targetId=scan.target_id,
        runnerId=scan.runner_id,
        attempt=scan.attempt,
        **data,
    )
    work.hints.update((jobs_topic(scan.organization_id), log_topic(scan.id)))
    if scan.runner_id is not None:
        work.hints.add(runner_topic(scan.runner_id))


async def _retire_if_ephemeral(work: Work, attempt: AttemptFacts, runner: RunnerFacts) -> None:
    if runner.ephemeral and attempt.started_at is not None and await runners.retire(work, runner.organization_id, runner.id):
        await audit.record(work, runner.organization_id, audit.SYSTEM, "runner.retired", ("runner", runner.id), None, reason="ephemeral")


async def release(
    work: Work, plant: Resources, runner_id: RunnerId, reason: EndReason, message: str, *, actor: str, is_confirmed: bool
) -> list[JobId]:
    """End every lease of a runner; the ids of the jobs it held."""
    held = await store.list_held(work, runner_id)
    for scan, attempt in held:
        await end_attempt(work, plant, scan, attempt, reason, message, actor=actor, is_confirmed=is_confirmed)
    return [scan.job_id for scan, _ in held]
