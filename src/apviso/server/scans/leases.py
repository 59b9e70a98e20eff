"""Decides who holds a lease, how long, and from when on an attempt is certain to be silent. Pure."""

from __future__ import annotations

from datetime import datetime

from apviso.protocol.licenses import License
from apviso.protocol.states import LEASED_STATUSES, AdminState
from apviso.protocol.timers import Timers
from apviso.protocol.wire import RunnerId
from apviso.server.errors import LeaseLost
from apviso.server.runners.facts import RunnerFacts
from apviso.server.runners.presence import Presence, admin_state_at, is_in_maintenance
from apviso.server.scans.facts import AttemptFacts, ScanFacts

MAINTENANCE = "maintenance"
# The records may be older than what runners do: all that were there lately say first what they run.
ROLL_CALL = "roll_call"


def holder_of(scan: ScanFacts, attempt: AttemptFacts | None, runner_id: RunnerId) -> AttemptFacts:
    """The attempt, if `runner_id` holds the scan's lease through it. Raises LeaseLost."""
    if (
        attempt is None
        or attempt.runner_id != runner_id
        or attempt.number != scan.attempt
        or attempt.ended_at is not None
        or scan.status not in LEASED_STATUSES
    ):
        raise LeaseLost
    return attempt


def silent_at(attempt: AttemptFacts, now: datetime, timers: Timers, *, is_confirmed: bool) -> datetime:
    """From when on the attempt surely sends nothing to the target.

    At once when the runner says that it has stopped, or never started. Otherwise the runner has stopped by itself before
    `stale_end_after` has passed since its last accepted renewal: it counts from the moment it sent that renewal, we from when it arrived.
    """
    if is_confirmed or attempt.started_at is None:
        return now
    return max(now, attempt.renewed_at + timers.stale_end_after)


def why_not_claim(
    runner: RunnerFacts,
    presence: Presence,
    held: License,
    live_leases: int,
    offered_slots: int,
    now: datetime,
    *,
    is_roll_call: bool = False,
) -> str | None:
    """Why this runner can be given no job now; None when it can."""
    state = admin_state_at(runner, now)
    if state is not AdminState.ENABLED:
        return state
    if is_in_maintenance(runner, now):
        return MAINTENANCE
    if runner.goodbye_at is not None:
        return "said_goodbye"
    if is_roll_call:
        return ROLL_CALL
    if presence.blocking_faults:
        return presence.blocking_faults[0]
    if not held.can_start_self_hosted_scan:
        return f"license_{held.license_state}"
    if offered_slots <= 0 or runner.free_slots <= 0:
        return "no_free_slot"
    if live_leases >= held.concurrent_job_limit:
        return "license_capacity"
    return None
