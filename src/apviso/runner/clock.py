"""The two clocks of a runner: wall time for what people read, boot time for every duration that decides."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime


def _boot_seconds() -> float:
    # Boot time runs on while the machine sleeps; a monotonic clock would let a lease outlive a closed laptop lid.
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def _utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True)
class Clock:
    """`boot` in seconds since some fixed moment, never set back; `now` in UTC, as wrong as the host's clock is."""

    boot: Callable[[], float] = _boot_seconds
    now: Callable[[], datetime] = _utc_now
