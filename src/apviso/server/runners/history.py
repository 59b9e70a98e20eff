"""Decides what a runner's history says: uptime and gaps from its intervals. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from apviso.protocol.runners import HeartbeatGap, StatusInterval
from apviso.protocol.states import RunnerStatus


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
