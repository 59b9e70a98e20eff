"""The condition of the timed watch: which runners may stand differently from what was noted. `presence` judges each of them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from sqlalchemy import ColumnElement, Text, and_, case, cast, func, literal, null, or_

from apviso.protocol.states import AdminState, Fault, RunnerStatus, Silence
from apviso.server.db.moments import Moment
from apviso.server.db.schema import RunnerRow
from apviso.server.runners.presence import PresencePolicy

Condition = ColumnElement[bool]


def may_have_changed(now: Moment, policy: PresencePolicy, live_leases: ColumnElement[int]) -> Condition:
    """Whether time, a call, a lease or an administrator may have changed how a runner stands since it was looked at.

    What a heartbeat says of the runner's health and version is noted with that heartbeat, so nobody has to look for it.
    """
    noted = RunnerRow.observed_status
    return case(
        (noted.is_(None), True),
        (RunnerRow.revoked_at.is_not(None), noted != RunnerStatus.REVOKED),
        (noted == RunnerStatus.OFFLINE, _is_differently_offline(now, policy)),
        else_=or_(_is_silent(now, policy), *_changed_faults(now, policy, live_leases)),
    )


def _is_silent(now: Moment, policy: PresencePolicy) -> Condition:
    """Silent for a runner that was noted as present: in amnesty the lack of contact does not count."""
    says_so = or_(RunnerRow.last_contact_at.is_(None), RunnerRow.goodbye_at.is_not(None))
    return says_so if now < policy.amnesty_until else or_(says_so, RunnerRow.last_contact_at < now - policy.timers.offline_after)


def _is_differently_offline(now: Moment, policy: PresencePolicy) -> Condition:
    """Back again, or offline for another reason than the noted one."""
    return case(
        (RunnerRow.last_contact_at.is_(None), ~_notes(Silence.NEVER_CONTACTED)),
        (RunnerRow.goodbye_at.is_not(None), ~_notes(Silence.SAID_GOODBYE)),
        (RunnerRow.last_contact_at < now - policy.timers.offline_after, ~_notes(Silence.NO_CONTACT)),
        else_=True,
    )


def _changed_faults(now: Moment, policy: PresencePolicy, live_leases: ColumnElement[int]) -> tuple[Condition, ...]:
    """Each fault that comes or goes without a heartbeat, where it is noted and does not hold or the other way round."""
    timers = policy.timers
    holds = {
        Fault.HEARTBEAT_LATE: ~_is_within(RunnerRow.last_heartbeat_at, now - timers.heartbeat_late_after),
        Fault.DUPLICATE_IDENTITY: _is_within(RunnerRow.duplicate_seen_at, now - timers.duplicate_identity_remembered),
        Fault.CLAIM_LOOP_STALLED: _claim_loop_stalled(now, timers.claim_loop_stalled_after, live_leases),
        Fault.FAST_FAILURES: _fails_fast(now),
    }
    return tuple(_notes(fault) != is_held for fault, is_held in holds.items())


def _is_within(column: Any, since: Moment) -> Condition:
    return and_(column.is_not(None), column >= since)


def _claim_loop_stalled(now: Moment, limit: timedelta, live_leases: ColumnElement[int]) -> Condition:
    has_one = or_(RunnerRow.ephemeral, RunnerRow.quarantine.is_not(null()))
    slots = case((has_one, 1), (RunnerRow.max_concurrency < RunnerRow.configured_concurrency, RunnerRow.max_concurrency))
    is_enabled = or_(RunnerRow.admin_state == AdminState.ENABLED, func.coalesce(RunnerRow.admin_until <= now, False))
    return case(
        (func.coalesce(RunnerRow.claim_poll_age_ms, 0) <= limit // timedelta(milliseconds=1), False),
        (RunnerRow.last_heartbeat_at.is_(None), False),
        else_=and_(is_enabled, live_leases < func.coalesce(slots, RunnerRow.configured_concurrency)),
    )


def _fails_fast(now: Moment) -> Condition:
    """Quarantined, or said so by itself."""
    is_quarantined = and_(RunnerRow.admin_state == AdminState.QUARANTINED, func.coalesce(RunnerRow.admin_until > now, True))
    return or_(is_quarantined, cast(RunnerRow.health, Text).contains(literal(f'"{Fault.FAST_FAILURES}"')))


def _notes(reason: str) -> Condition:
    """Reasons are kept as a JSON list of words, none of which is a part of another."""
    return func.coalesce(cast(RunnerRow.observed_reasons, Text), "").contains(literal(f'"{reason}"'))
