"""Decides what a runner's history says: uptime and gaps from its intervals, who has a say in it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

from apviso.protocol.access import AuditEvent
from apviso.protocol.runners import AdminChange, HeartbeatGap, StatusInterval
from apviso.protocol.states import AdminState, RunnerStatus

# As the audit trail names what changed whether a runner is wanted to take scans.
ADMIN_ACTIONS = ("runner.paused", "runner.draining", "runner.resumed", "runner.quarantined", "runner.on_trial")
BAR = timedelta(minutes=15)
BARS = 96
_LETTERS = {RunnerStatus.ONLINE: "o", RunnerStatus.DEGRADED: "d", RunnerStatus.OFFLINE: "x", RunnerStatus.REVOKED: "r"}
# From good to bad; a stretch of which nothing is known takes any.
_WORSE = "-odxr"


def uptime_ratio(intervals: Sequence[StatusInterval], since: datetime, now: datetime) -> float | None:
    """The share of the time since `since` (or since the first interval) spent online or degraded, 0 to 1."""
    stretches = [(interval.status, max(interval.since, since), interval.until or now) for interval in intervals]
    whole = sum((until - begin).total_seconds() for _, begin, until in stretches if until > begin)
    if whole <= 0:
        return None
    present = (RunnerStatus.ONLINE, RunnerStatus.DEGRADED)
    up = sum((until - begin).total_seconds() for status, begin, until in stretches if until > begin and status in present)
    return round(up / whole, 6)


def open_gap(last_heartbeat_at: datetime | None, late_after_seconds: float, now: datetime) -> HeartbeatGap | None:
    """The gap that lasts now, if the last heartbeat is longer ago than the late limit."""
    if last_heartbeat_at is None:
        return None
    seconds = (now - last_heartbeat_at).total_seconds()
    return HeartbeatGap(since=last_heartbeat_at, until=None, seconds=round(seconds, 3)) if seconds > late_after_seconds else None


def may_its_host_change(state: AdminState, decided_by: str | None, host: str) -> bool:
    """Whether somebody at a runner's host may say what is wanted of it: not over the head of people who have, nor to end a quarantine."""
    return state is AdminState.ENABLED or (state is not AdminState.QUARANTINED and decided_by == host)


def admin_change(event: AuditEvent) -> AdminChange:
    """What people changed is noted by the names of its columns, what the control plane changed by those of the answers."""
    said = event.details
    ends = (said.get(name) for name in ("admin_until", "drain_deadline", "until"))
    return AdminChange.model_validate(
        {
            "at": event.at,
            "actor": event.actor,
            "action": event.action,
            "note": said.get("admin_note") or said.get("reason"),
            "until": next((end for end in ends if end is not None), None),
            "failures": said.get("failures", []),
        }
    )


def first_bar(now: datetime) -> datetime:
    """Where the strip of a day begins: at a full quarter of an hour, so that bars do not change with every look."""
    seconds = now.timestamp()
    return datetime.fromtimestamp(seconds - seconds % BAR.total_seconds(), UTC) - (BARS - 1) * BAR


def bars_of(stretches: Iterable[tuple[RunnerStatus, datetime, datetime | None]], begin: datetime, now: datetime) -> str:
    """A letter for each bar since `begin`; the worst status in it counts, however short. Stretches are status, since and until."""
    bars = [0] * BARS
    for status, since, until in stretches:
        rank = _WORSE.index(_LETTERS[status])
        first = max(0, int((since - begin) / BAR))
        last = min(BARS - 1, int((min(until or now, now) - begin) / BAR))
        for place in range(first, last + 1):
            bars[place] = max(bars[place], rank)
    return "".join(_WORSE[rank] for rank in bars)
