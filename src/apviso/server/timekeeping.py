"""The server's time of day: the host's, but where that is stepped, the old one goes on until what is counted from it has moved along.

Between two steps it is the host's own time, with every small correction. Changes nothing by itself.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

# A correction below this shortens or stretches no wait by much; most hosts are corrected little by little anyway.
SMALL_SECONDS = 2.0


# Boot time runs on while the machine sleeps; by a monotonic clock, waking up would look like a step.
_BOOT_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def boot_seconds() -> float:
    return time.clock_gettime(_BOOT_CLOCK)


class Timekeeper:
    """Called for the time. `wall` is the host's time of day, `boot` its seconds since some fixed moment."""

    def __init__(self, wall: Callable[[], datetime], boot: Callable[[], float] = boot_seconds) -> None:
        self._wall = wall
        self._boot = boot
        self._began = self._host_began()

    def __call__(self) -> datetime:
        now, boot = self._wall(), self._boot()
        host_began = now.timestamp() - boot
        if abs(host_began - self._began) <= SMALL_SECONDS:
            self._began = host_began
            return now
        return datetime.fromtimestamp(self._began + boot, UTC)

    @property
    def step(self) -> timedelta:
        """How far the host's clock was set forward since; none where it was not touched."""
        away = self._host_began() - self._began
        return timedelta() if abs(away) <= SMALL_SECONDS else timedelta(seconds=away)

    def follow(self, step: timedelta) -> None:
        """From now on the time is later by the step."""
        self._began += step.total_seconds()

    def _host_began(self) -> float:
        """When boot time began, by the host's time of day."""
        return self._wall().timestamp() - self._boot()
