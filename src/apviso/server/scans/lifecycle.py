"""Decides what becomes of a scan when an attempt ends, and which timers have run out. Pure: every state that is not final has a timer."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from apviso.protocol.states import CANCELLED_REASONS, COMPLETED_REASONS, RETRIED_REASONS, AdminState, EndReason, ScanStatus
from apviso.protocol.timers import Timers
from apviso.server.runners.facts import RunnerFacts
from apviso.server.runners.presence import admin_state_at
from apviso.server.scans.facts import AttemptFacts, ScanFacts

OVERDUE = "The scan did not end within its time and was stopped."


@dataclass(frozen=True)
class Outcome:
    """The scan's next state. `not_before` is set when it waits for another attempt."""

    status: ScanStatus
    end_reason: EndReason | None
    reason: str | None
    not_before: datetime | None = None
    is_failure_counted: bool = False

    @property
    def is_retry(self) -> bool:
        return self.status is ScanStatus.PENDING_RUNNER


def after_attempt(
    scan: ScanFacts,
    reason: EndReason,
    message: str | None,
    now: datetime,
    silent_at: datetime,
    timers: Timers,
    *,
    was_started: bool = True,
) -> Outcome:
    """What becomes of the scan when its attempt ended for `reason`.

    A scan that completed has completed, also when a cancel was under way. Otherwise a cancel wins over everything, and
    infrastructure causes are retried while attempts are left: after 30 s, then 2 min, never before the old attempt is silent.
    What a runner that was stopped had not begun goes back at once, and is no failure: a claim may cross with the stop.
    """
    if reason in COMPLETED_REASONS:
        return Outcome(ScanStatus.COMPLETED, reason, message)
    if scan.cancel_requested_at is not None:
        return cancelled(scan.cancel_reason or EndReason.CANCELED_BY_USER, message)
    if reason in CANCELLED_REASONS:
        return Outcome(ScanStatus.CANCELLED, reason, message)
    if reason is EndReason.RUNNER_SHUTDOWN and not was_started:
        return Outcome(ScanStatus.PENDING_RUNNER, None, f"{reason}: {message}" if message else str(reason), now)
    if reason in RETRIED_REASONS and scan.infrastructure_failures + 1 < timers.max_attempts:
        delay = timers.first_retry_after if scan.infrastructure_failures == 0 else timers.next_retry_after
        said = f"{reason}: {message}" if message else str(reason)
        return Outcome(ScanStatus.PENDING_RUNNER, None, said, max(now + delay, silent_at), is_failure_counted=True)
    return Outcome(ScanStatus.FAILED, reason, message)


def cancelled(reason: EndReason, message: str | None) -> Outcome:
    """The end of a scan that was told to stop; a spent run time is a failure, not a wish."""
    if reason in CANCELLED_REASONS:
        return Outcome(ScanStatus.CANCELLED, reason, message)
    # The runner knows no more than that it was told to stop.
    return Outcome(ScanStatus.FAILED, reason, OVERDUE if reason is EndReason.RUN_TIMEOUT else message)


class Due(StrEnum):
    """Timers that have run out."""

    QUEUE_TIMEOUT = "queue_timeout"
    ASSIGNED_SILENT = "assigned_silent"
    LEASE_EXPIRED = "lease_expired"
    RUNNER_LOST = "runner_lost"
    RUN_TIMEOUT = "run_timeout"
    CANCEL_FORCED = "cancel_forced"


def due(
    scan: ScanFacts,
    attempt: AttemptFacts | None,
    now: datetime,
    amnesty_until: datetime,
    timers: Timers,
    first_chance_at: datetime | None = None,
) -> Due | None:
    """The timer of this scan that has run out at `now`, the most final first. In amnesty no lease expires.

    `first_chance_at`: when the target's scan windows first let it start; it has not waited for a runner before.
    """
    if scan.is_final:
        return None
    if scan.status is ScanStatus.PENDING_RUNNER:
        # After a failure the wait begins anew; a scan that no runner ever started has waited since it was asked for.
        since = scan.not_before if scan.infrastructure_failures and scan.not_before else scan.created_at
        since = max(since, first_chance_at or since)
        return Due.QUEUE_TIMEOUT if now - since >= timers.queue_timeout else None
    if attempt is None:
        return None
    if scan.cancel_requested_at is not None and now - scan.cancel_requested_at >= timers.cancel_forced_after:
        return Due.CANCEL_FORCED
    if now < amnesty_until:
        return None
    return _lease_due(scan, attempt, now, timers)


def is_drain_overdue(runner: RunnerFacts, now: datetime, amnesty_until: datetime, timers: Timers) -> bool:
    """Whether a runner that was to give its scans back at the deadline of its drain is waited for no longer.

    One that can be reached does so with its next heartbeat, and after a restart of the server gets time to hear of it.
    """
    if admin_state_at(runner, now) is not AdminState.DRAINING or runner.drain_deadline is None:
        return False
    return now >= amnesty_until and now - runner.drain_deadline >= timers.cancel_forced_after


def _lease_due(scan: ScanFacts, attempt: AttemptFacts, now: datetime, timers: Timers) -> Due | None:
    if scan.status is ScanStatus.ASSIGNED and now - attempt.heard_at >= timers.assigned_silent_after:
        return Due.ASSIGNED_SILENT
    if now - attempt.renewed_at >= timers.stale_end_after:
        return Due.RUNNER_LOST
    if scan.status is ScanStatus.RUNNING and now >= attempt.lease_expires_at:
        return Due.LEASE_EXPIRED
    started = attempt.started_at or attempt.assigned_at
    return Due.RUN_TIMEOUT if scan.cancel_requested_at is None and now - started >= timers.run_timeout else None
