"""How often runners report, and for how long silence is no news: both grow with the fleet, so that heartbeats stay within what is set."""

from __future__ import annotations

import math
from collections import deque
from datetime import datetime, timedelta

from apviso.protocol.timers import Timers

# Four times the interval is still far below what ends a lease.
SLOWEST = 4.0
# A fleet that grows by one runner changes nothing.
STEPS_IN_ONE = 10
COUNT_EVERY = timedelta(minutes=1)
# Who was told a longer interval may keep to it until the next heartbeat: patience outlasts it by far.
PATIENT_FOR = timedelta(minutes=10)


class Pace:
    """`interval` is what runners are told; `timers` are the settings' with the limits of silence stretched by the same factor."""

    def __init__(self, timers: Timers, heartbeats_per_second: int) -> None:
        self.interval = timers.heartbeat_interval
        self.timers = timers
        self._plain = timers
        self._most = heartbeats_per_second
        self._factors: deque[tuple[datetime, float]] = deque()
        self.interval_ms = _in_milliseconds(self.interval)

    def is_due(self, now: datetime) -> bool:
        """Whether the runners should be counted again."""
        return not self._factors or not timedelta() <= now - self._factors[-1][0] < COUNT_EVERY

    def count(self, runners: int, now: datetime) -> None:
        wanted = runners / (self._most * self._plain.heartbeat_interval.total_seconds())
        factor = min(max(1.0, math.ceil(wanted * STEPS_IN_ONE) / STEPS_IN_ONE), SLOWEST)
        self._factors.append((now, factor))
        while now - self._factors[0][0] > PATIENT_FOR:
            self._factors.popleft()
        self.interval = self._plain.heartbeat_interval * factor
        self.interval_ms = _in_milliseconds(self.interval)
        patience = max(factor for _, factor in self._factors)
        stretched = {name: getattr(self._plain, name) * patience for name in ("heartbeat_late_after", "offline_after")}
        self.timers = self._plain.model_copy(update=stretched) if patience > 1 else self._plain


def _in_milliseconds(span: timedelta) -> int:
    return round(span / timedelta(milliseconds=1))
