"""Decides how a runner stands: its status, why, and whether it may take work. Pure: takes the facts and the time."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import NamedTuple

from pydantic import JsonValue

from apviso.protocol.runners import PresenceLimits
from apviso.protocol.states import BLOCKING_FAULTS, AdminState, Fault, RunnerStatus, Silence
from apviso.protocol.timers import Timers
from apviso.server.localtime import is_within, next_turn
from apviso.server.runners.facts import RunnerFacts

_MILLISECOND = timedelta(milliseconds=1)
_NEVER = datetime.max.replace(tzinfo=UTC)
# What a runner may say of itself; everything else is measured here.
_SELF_REPORTED = frozenset({Fault.PROVIDER_UNCONFIGURED, Fault.FAST_FAILURES, Fault.ENGINE_UNREACHABLE, Fault.DISK_LOW})


@dataclass(frozen=True)
class PresencePolicy:
    """What presence is measured against. During amnesty, silence that may be the server's own fault is not counted."""

    timers: Timers
    amnesty_until: datetime
    minimum_version: str | None = None
    deprecated_version: str | None = None
    # From when on the minimum counts; without it, always.
    minimum_from: datetime | None = None


@dataclass(frozen=True)
class Presence:
    """`since` is when this status began, as far as the facts alone tell; None where they do not. `unsupported_from`: when its version is
    or was given up, where a time was set for that."""

    status: RunnerStatus
    reasons: tuple[str, ...]
    is_accepting: bool
    since: datetime | None = None
    unsupported_from: datetime | None = None

    @property
    def is_present(self) -> bool:
        return self.status in (RunnerStatus.ONLINE, RunnerStatus.DEGRADED)

    @property
    def blocking_faults(self) -> list[str]:
        # Most runners have none: each is asked in every judgment of its fleet.
        return [reason for reason in self.reasons if reason in BLOCKING_FAULTS] if self.reasons else []


def presence_of(runner: RunnerFacts, now: datetime, policy: PresencePolicy) -> Presence:
    """Status as seen at `now`; the caller's clock is the server's."""
    if runner.revoked_at is not None:
        return Presence(RunnerStatus.REVOKED, (), is_accepting=False, since=runner.revoked_at)
    silence = _silence(runner, now, policy)
    if silence is not None:
        ends = _unsupported_from(runner, policy)
        return Presence(RunnerStatus.OFFLINE, (silence[0],), is_accepting=False, since=silence[1], unsupported_from=ends)
    faults = tuple(faults_of(runner, now, policy))
    is_enabled = admin_state_at(runner, now) is AdminState.ENABLED and not is_in_maintenance(runner, now)
    is_accepting = is_enabled and not BLOCKING_FAULTS.intersection(faults)
    status = RunnerStatus.DEGRADED if faults else RunnerStatus.ONLINE
    return Presence(status, faults, is_accepting, unsupported_from=_unsupported_from(runner, policy))


def limits_of(policy: PresencePolicy) -> PresenceLimits:
    """What presence is measured against, as people are told."""
    timers = policy.timers
    return PresenceLimits(
        heartbeat_late_seconds=timers.heartbeat_late_after.total_seconds(),
        offline_seconds=timers.offline_after.total_seconds(),
        disk_free_bytes=timers.disk_floor_bytes,
        clock_skew_ms=round(timers.clock_skew_limit / _MILLISECOND),
        spool_backlog_bytes=timers.spool_backlog_bytes,
        minimum_version=policy.minimum_version,
        deprecated_version=policy.deprecated_version,
    )


def next_change(runner: RunnerFacts, now: datetime, policy: PresencePolicy) -> datetime | None:
    """The first moment after `now` at which time alone may change how the runner stands; None where there is none."""
    timers, limit = policy.timers, timedelta.resolution
    # Limits are passed, not reached: what lasts for 35 s still holds at 35 s.
    spans = (
        (runner.last_contact_at, timers.offline_after + limit),
        (runner.last_heartbeat_at, timers.heartbeat_late_after + limit),
        (runner.duplicate_seen_at, timers.duplicate_identity_remembered + limit),
    )
    moments = [] if runner.revoked_at is not None else [policy.amnesty_until, *(since + span for since, span in spans if since is not None)]
    turn = next_turn(runner.maintenance_windows, now)
    if turn is not None:
        moments.append(turn)
    return min((moment for moment in [*moments, *_turns(runner, policy)] if moment > now), default=None)


class Wellness(NamedTuple):
    """A runner is online without any reason until then, as long as its heartbeats come in time and none of them complains."""

    until: datetime
    timers: Timers
    skew_ms: float
    claim_poll_age_ms: float

    def lasts(self, health: Mapping[str, JsonValue], claim_poll_age_ms: int | None, now: datetime, policy: PresencePolicy) -> bool:
        """Whether it lasts at `now` and after a heartbeat that says so; in doubt not."""
        say, timers = health.get, self.timers
        return (
            timers is policy.timers
            and now < self.until
            and not say("faults")
            and say("engineReachable") is not False
            and not _below(say("diskFreeBytes"), timers.disk_floor_bytes)
            and not _above(say("clockSkewMs"), self.skew_ms)
            and not _above(say("spoolBacklogBytes"), timers.spool_backlog_bytes)
            and (claim_poll_age_ms is None or claim_poll_age_ms <= self.claim_poll_age_ms)
        )


def wellness_of(runner: RunnerFacts, now: datetime, policy: PresencePolicy) -> Wellness | None:
    """None for a runner that is not well now."""
    timers = policy.timers
    if presence_of(runner, now, policy).status is not RunnerStatus.ONLINE or runner.duplicate_seen_at is not None:
        return None
    until = min((moment for moment in _turns(runner, policy) if moment > now), default=_NEVER)
    return Wellness(until, timers, timers.clock_skew_limit / _MILLISECOND, timers.claim_loop_stalled_after / _MILLISECOND)


def _turns(runner: RunnerFacts, policy: PresencePolicy) -> list[datetime]:
    """When time changes what was decided of a runner, whatever is heard of it."""
    return [moment for moment in (runner.admin_until, _unsupported_from(runner, policy)) if moment is not None]


def admin_state_at(runner: RunnerFacts, now: datetime) -> AdminState:
    """A pause that has run out is over, whether or not a timer has noted it yet."""
    if runner.admin_until is not None and runner.admin_until <= now:
        return AdminState.ENABLED
    return runner.admin_state


def is_in_maintenance(runner: RunnerFacts, now: datetime) -> bool:
    """Whether one of its maintenance windows is open."""
    return bool(runner.maintenance_windows) and is_within(runner.maintenance_windows, now)


def _silence(runner: RunnerFacts, now: datetime, policy: PresencePolicy) -> tuple[Silence, datetime] | None:
    if runner.last_contact_at is None:
        return Silence.NEVER_CONTACTED, runner.created_at
    if runner.goodbye_at is not None:
        return Silence.SAID_GOODBYE, runner.goodbye_at
    silent_since = runner.last_contact_at + policy.timers.offline_after
    if now <= silent_since:
        return None
    if now < policy.amnesty_until and runner.observed_status is not RunnerStatus.OFFLINE:
        return None
    return Silence.NO_CONTACT, silent_since


def faults_of(runner: RunnerFacts, now: datetime, policy: PresencePolicy) -> list[Fault]:
    """Every fault that holds at `now`, the most telling first."""
    timers, health = policy.timers, runner.health
    is_below = is_older(runner.version, policy.minimum_version)
    is_unsupported = is_below and (policy.minimum_from is None or now >= policy.minimum_from)
    is_deprecated = is_below or is_older(runner.version, policy.deprecated_version)
    held = (
        (Fault.DUPLICATE_IDENTITY, _within(runner.duplicate_seen_at, timers.duplicate_identity_remembered, now)),
        (Fault.VERSION_UNSUPPORTED, is_unsupported),
        (Fault.ENGINE_UNREACHABLE, health.get("engineReachable") is False),
        (Fault.DISK_LOW, _below(health.get("diskFreeBytes"), timers.disk_floor_bytes)),
        (Fault.FAST_FAILURES, admin_state_at(runner, now) is AdminState.QUARANTINED),
        (Fault.HEARTBEAT_LATE, not _within(runner.last_heartbeat_at, timers.heartbeat_late_after, now)),
        (Fault.CLAIM_LOOP_STALLED, _claim_loop_stalled(runner, now, timers.claim_loop_stalled_after)),
        (Fault.CLOCK_SKEW, _above(health.get("clockSkewMs"), timers.clock_skew_limit / _MILLISECOND)),
        (Fault.SPOOL_BACKLOG, _above(health.get("spoolBacklogBytes"), timers.spool_backlog_bytes)),
        (Fault.VERSION_DEPRECATED, is_deprecated and not is_unsupported),
        (Fault.PROVIDER_UNCONFIGURED, False),
    )
    said = _words(health.get("faults"))
    return [fault for fault, is_held in held if is_held or (fault in said and fault in _SELF_REPORTED)]


def _unsupported_from(runner: RunnerFacts, policy: PresencePolicy) -> datetime | None:
    return policy.minimum_from if is_older(runner.version, policy.minimum_version) else None


def _within(moment: datetime | None, span: timedelta, now: datetime) -> bool:
    return moment is not None and now - moment <= span


def _claim_loop_stalled(runner: RunnerFacts, now: datetime, limit: timedelta) -> bool:
    if runner.claim_poll_age_ms is None or runner.last_heartbeat_at is None or runner.free_slots <= 0:
        return False
    return admin_state_at(runner, now) is AdminState.ENABLED and timedelta(milliseconds=runner.claim_poll_age_ms) > limit


def _words(value: JsonValue) -> list[JsonValue]:
    return value if isinstance(value, list) else []


def _below(value: JsonValue, floor: float) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value < floor


def _above(value: JsonValue, limit: float) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) > limit


@lru_cache(maxsize=1_000)
def is_older(version: str, than: str | None) -> bool:
    """Compare the leading numbers of two versions; one without numbers is never older."""
    numbers = _numbers(version)
    return than is not None and bool(numbers) and numbers < _numbers(than)


def _numbers(version: str) -> tuple[int, ...]:
    found = re.match(r"v?(\d{1,9}(?:\.\d{1,9}){0,5})", version)
    return tuple(int(part) for part in found[1].split(".")) if found else ()
