"""The timed duties of scans: what happens when a timer has run out."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import partial

from sqlalchemy import SelectBase

from apviso.protocol.states import EndReason, ScanStatus
from apviso.server.audit.store import SYSTEM
from apviso.server.db.engine import Work
from apviso.server.localtime import next_opening
from apviso.server.metrics import timer_ran_out
from apviso.server.resources import Resources, Turn
from apviso.server.runners import store as runners
from apviso.server.scans import store
from apviso.server.scans.ending import conclude, end_attempt, release, tell
from apviso.server.scans.facts import AttemptFacts, ScanFacts
from apviso.server.scans.lifecycle import Due, Outcome, cancelled, due, is_drain_overdue
from apviso.server.scans.quarantining import judge_runner
from apviso.server.targets import store as targets

# One that fails takes no more than these with it, and nobody waits long for a lock.
SCANS_AT_ONCE = 20
NOT_GIVEN_BACK = "The runner was drained and did not give the scan back at the deadline."


def timers_to_run(now: datetime, plant: Resources) -> Sequence[SelectBase]:
    return store.overdue(now, plant.amnesty_until, plant.settings.timers)


async def run_timers(turn: Turn, plant: Resources) -> None:
    """Do what is due, some scans at a time."""
    timers = plant.settings.timers
    async with plant.database.reading() as work:
        overdue = await store.list_overdue(work, plant.amnesty_until, timers)
    for start in range(0, len(overdue), SCANS_AT_ONCE):
        async with turn() as work:
            for organization_id, scan_id in overdue[start : start + SCANS_AT_ONCE]:
                # Its runner may have renewed since it was found: judged once nobody else can change it.
                scan = await store.get_locked(work, organization_id, scan_id)
                attempt = await store.find_live(work, scan)
                what = due(scan, attempt, work.now, plant.amnesty_until, timers, await _first_chance(work, scan))
                if what is not None:
                    work.afterwards.append(partial(timer_ran_out, what))
                    await _act(work, plant, scan, attempt, what)


def drains_to_force(now: datetime, plant: Resources) -> Sequence[SelectBase]:
    return (store.drained_with_scans(now),)


async def force_drains(turn: Turn, plant: Resources) -> None:
    """Take the scans from runners that have not given them back long after the deadline of their drain."""
    async with plant.database.reading() as work:
        draining = await store.list_drained_with_scans(work)
    for organization_id, runner_id in draining:
        async with turn() as work:
            runner = await runners.get(work, organization_id, runner_id)
            if is_drain_overdue(runner, work.now, plant.amnesty_until, plant.settings.timers):
                # It may not have heard of it: other attempts wait until it must have stopped by itself.
                await release(work, plant, runner_id, EndReason.RUNNER_SHUTDOWN, NOT_GIVEN_BACK, actor=SYSTEM, is_confirmed=False)


async def _first_chance(work: Work, scan: ScanFacts) -> datetime | None:
    if scan.status is not ScanStatus.PENDING_RUNNER:
        return None
    target = await targets.get(work, scan.organization_id, scan.target_id)
    return next_opening(target.scan_windows, scan.created_at)


async def _act(work: Work, plant: Resources, scan: ScanFacts, attempt: AttemptFacts | None, what: Due) -> None:
    if what is Due.QUEUE_TIMEOUT:
        hours = plant.settings.timers.queue_timeout.total_seconds() / 3600
        outcome = Outcome(ScanStatus.FAILED, EndReason.QUEUE_TIMEOUT, f"No runner took the scan within {hours:g} h.")
        await conclude(work, scan, outcome, actor=SYSTEM)
        return
    assert attempt is not None
    match what:
        case Due.LEASE_EXPIRED:
            if await store.move(
                work, scan, ScanStatus.STALE, status_reason="The runner has not renewed its lease; it may still come back."
            ):
                tell(work, scan, "stale")
        case Due.RUN_TIMEOUT:
            await store.request_cancel(work, scan, EndReason.RUN_TIMEOUT)
            tell(work, scan, "cancel_requested", reason=str(EndReason.RUN_TIMEOUT))
        case Due.ASSIGNED_SILENT:
            await _take_back(work, plant, scan, attempt)
        case Due.RUNNER_LOST:
            message = "The runner stopped renewing its lease."
            await end_attempt(work, plant, scan, attempt, EndReason.RUNNER_LOST, message, actor=SYSTEM, is_confirmed=False)
        case Due.CANCEL_FORCED:
            reason = scan.cancel_reason or EndReason.CANCELED_BY_USER
            message = "The runner did not confirm the cancel in time; it was forced."
            await end_attempt(work, plant, scan, attempt, reason, message, actor=SYSTEM, is_confirmed=False)


async def _take_back(work: Work, plant: Resources, scan: ScanFacts, attempt: AttemptFacts) -> None:
    """The runner took the job and was not heard of: it has not started, so the job goes back and no attempt is counted.

    Unless the scan was to be cancelled: nobody has anything to stop, so that is its end.
    """
    if await store.end_attempt(work, attempt, EndReason.RUNNER_LOST, work.now, None):
        message = "The runner that took the scan did not start it."
        outcome = Outcome(ScanStatus.PENDING_RUNNER, None, message, work.now)
        if scan.cancel_requested_at is not None:
            outcome = cancelled(scan.cancel_reason or EndReason.CANCELED_BY_USER, message)
        await conclude(work, scan, outcome, actor=SYSTEM, attempt_ended_for="assigned_silent")
        runner = await runners.get(work, scan.organization_id, attempt.runner_id)
        await judge_runner(work, plant, runner, scan, attempt, EndReason.RUNNER_LOST, message)
