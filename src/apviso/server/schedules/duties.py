"""The timed duty of schedules: start what is due, and account for every run that was not started."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import structlog
from sqlalchemy import SelectBase

from apviso.protocol.scans import NewScan
from apviso.protocol.schedules import IfMissed, RunOutcome
from apviso.protocol.wire import format_instant
from apviso.server.audit import store as audit
from apviso.server.db.engine import Work
from apviso.server.errors import (
    DatabaseUnavailable,
    LicenseInactive,
    LicenseLimitReached,
    Refusal,
    RunnerNotFound,
    RunnerNotReady,
    ScanAlreadyActive,
    ScheduleNotFound,
    TargetNotFound,
    TargetUnverified,
    VisibilityNotAllowed,
)
from apviso.server.resources import Resources, Turn
from apviso.server.scans import starting
from apviso.server.schedules import store
from apviso.server.schedules.facts import RunFacts, ScheduleFacts
from apviso.server.schedules.missing import TO_BE_CAUGHT_UP, TRY_EVERY, DueRun, plan
from apviso.server.schedules.store import DueSchedule
from apviso.server.schedules.timing import next_after
from apviso.server.stream import store as stream
from apviso.server.targets import store as targets

log = structlog.get_logger("apviso.schedules")
# In one round; what is left is due in the next.
MOST_AT_ONCE = 100
# Waiting would not mend these.
_FAILURES = (LicenseInactive, VisibilityNotAllowed, TargetUnverified, RunnerNotFound)
# These pass by themselves, or when somebody acts: whoever wants missed runs to be caught up wants these, too.
_PASSING = (LicenseInactive, LicenseLimitReached, RunnerNotReady, ScanAlreadyActive)
_STARTED = {
    RunOutcome.STARTED: "Started when it was due.",
    RunOutcome.CAUGHT_UP: "Nobody could start it when it was due; it was caught up.",
}


@dataclass(frozen=True)
class _Judged:
    """What became of a run; `is_owed` where it is to be caught up."""

    run: RunFacts
    is_owed: bool = False


def schedules_to_run(now: datetime, plant: Resources) -> Sequence[SelectBase]:
    return (store.due(now),)


async def run_schedules(turn: Turn, plant: Resources) -> None:
    """Each schedule in a transaction of its own: one that cannot be run holds up no other."""
    async with plant.database.reading() as work:
        due = await store.list_due(work, MOST_AT_ONCE)
    for one in due:
        try:
            async with turn() as work:
                await _run(work, plant, one)
        except DatabaseUnavailable:
            raise
        except Exception:
            log.exception("schedule failed", organization_id=one.organization_id, schedule_id=one.id)
            await _give_up(turn, one)


async def _run(work: Work, plant: Resources, due: DueSchedule) -> None:
    schedule = await _held(work, due)
    if schedule is None:
        return
    if schedule.next_run_at is not None and schedule.next_run_at <= work.now:
        await _run_what_is_due(work, plant, schedule, schedule.next_run_at)
        return
    if schedule.decided_at > work.now:
        # It was decided by a clock that was ahead; what that clock has started is not started again.
        await _move_on(work, schedule, next_after(schedule.timing, max(work.now, schedule.since)), None)
    elif schedule.owed_due_at is not None:
        await _catch_up(work, plant, schedule, schedule.owed_due_at)


async def _run_what_is_due(work: Work, plant: Resources, schedule: ScheduleFacts, first_due: datetime) -> None:
    """One that was owed is owed no longer: a later run takes its place."""
    planned = plan(schedule.timing, first_due, work.now, plant.settings.timers.schedule_grace, schedule.if_missed)
    accounted = await store.list_accounted(work, schedule, [run.at for run in planned.runs])
    owed_due_at: datetime | None = None
    for due_run in planned.runs:
        if due_run.at not in accounted:
            judged = await _start(work, plant, schedule, due_run) if due_run.reason_code is None else _Judged(_missed(due_run))
            owed_due_at = judged.run.due_at if judged.is_owed else None
            await store.add_run(work, schedule, judged.run)
            await _tell(work, schedule, judged.run)
    await _move_on(work, schedule, planned.next_at, owed_due_at)


async def _catch_up(work: Work, plant: Resources, schedule: ScheduleFacts, due_at: datetime) -> None:
    judged = await _start(work, plant, schedule, DueRun(due_at, is_late=True))
    if judged.is_owed:
        await store.edit(work, schedule, owed_try_at=work.now + TRY_EVERY)
        return
    await store.catch_up(work, schedule, judged.run)
    await _tell(work, schedule, judged.run)
    await store.edit(work, schedule, owed_due_at=None, owed_try_at=None)


async def _held(work: Work, due: DueSchedule) -> ScheduleFacts | None:
    """The schedule, if it is still to be looked at; nobody else changes it now. Who deletes a target holds that first, too."""
    try:
        await targets.get_locked(work, due.organization_id, due.target_id)
        schedule = await store.get_locked(work, due.organization_id, due.id)
    except (TargetNotFound, ScheduleNotFound):
        return None
    return schedule if schedule.enabled else None


async def _start(work: Work, plant: Resources, schedule: ScheduleFacts, due: DueRun) -> _Judged:
    """By the same way as a person does; what that refuses is what became of the run."""
    wanted = NewScan(
        target_id=schedule.target_id,
        runner_id=schedule.runner_id,
        model_preset=schedule.model_preset,
        when_unavailable=schedule.when_unavailable,
    )
    try:
        started = await starting.start(work, plant, schedule.organization_id, wanted, actor=f"schedule:{schedule.id}")
    except DatabaseUnavailable:
        raise
    except Refusal as refusal:
        outcome = RunOutcome.FAILED if isinstance(refusal, _FAILURES) else RunOutcome.SKIPPED
        run = RunFacts(due.at, outcome, str(refusal.members.get("primaryBlocker") or refusal.code), refusal.detail)
        is_owed = schedule.if_missed is IfMissed.CATCH_UP and await _passes(work, schedule, refusal)
        return _Judged(replace(run, reason=f"{run.reason} {TO_BE_CAUGHT_UP}") if is_owed else run, is_owed)
    outcome = RunOutcome.CAUGHT_UP if due.is_late else RunOutcome.STARTED if started.readiness.ready else RunOutcome.QUEUED
    reason = _STARTED.get(outcome, "")
    if not started.readiness.ready:
        reason = f"{reason} The scan waits: {started.readiness.reason}".strip()
    return _Judged(RunFacts(due.at, outcome, started.readiness.primary_blocker, reason, started.scan.id))


async def _passes(work: Work, schedule: ScheduleFacts, refusal: Refusal) -> bool:
    """Whether what was refused may be started later. Where a scan of this very schedule keeps the target busy, that is the one."""
    if isinstance(refusal, ScanAlreadyActive):
        return not await store.is_at_work(work, schedule)
    return isinstance(refusal, _PASSING)


def _missed(run: DueRun) -> RunFacts:
    return RunFacts(run.at, RunOutcome.SKIPPED, run.reason_code, run.reason)


async def _give_up(turn: Turn, due: DueSchedule) -> None:
    """This run cannot be judged, for a reason that nobody has thought of; the next one may be."""
    try:
        async with turn() as work:
            schedule = await _held(work, due)
            if schedule is None:
                return
            if schedule.next_run_at is None or schedule.next_run_at > work.now:
                await store.edit(work, schedule, owed_due_at=None, owed_try_at=None)
                return
            reason = "Something went wrong here; the server's log has it."
            run = RunFacts(schedule.next_run_at, RunOutcome.FAILED, "internal_error", reason)
            await store.add_run(work, schedule, run)
            await _tell(work, schedule, run)
            await _move_on(work, schedule, next_after(schedule.timing, work.now), None)
    except DatabaseUnavailable:
        raise
    except Exception:  # the others are to be run all the same
        log.exception("schedule cannot be given up", organization_id=due.organization_id, schedule_id=due.id)


async def _move_on(work: Work, schedule: ScheduleFacts, next_at: datetime | None, owed_due_at: datetime | None) -> None:
    try_at = None if owed_due_at is None else work.now + TRY_EVERY
    await store.edit(work, schedule, next_run_at=next_at, decided_at=work.now, owed_due_at=owed_due_at, owed_try_at=try_at)


async def _tell(work: Work, schedule: ScheduleFacts, run: RunFacts) -> None:
    action = "schedule.triggered" if run.scan_id is not None else "schedule.skipped"
    told: dict[str, Any] = {"outcome": run.outcome, "reasonCode": run.reason_code, "scanId": run.scan_id}
    told["dueAt"] = format_instant(run.due_at)
    await audit.record(work, schedule.organization_id, audit.SYSTEM, action, ("schedule", schedule.id), None, **told)
    stream.publish(work, schedule.organization_id, action, scheduleId=schedule.id, targetId=schedule.target_id, reason=run.reason, **told)
