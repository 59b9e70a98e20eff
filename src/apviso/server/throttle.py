"""Rate limits: a fixed window of a minute for each caller, in memory. Each process counts for itself."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

from apviso.server.errors import RateLimited

WINDOW_SECONDS = 60.0
# Callers remembered at once; the longest unseen is forgotten first.
MAX_CALLERS = 50_000


class Allowance(NamedTuple):
    """What is left in this window: `reset_seconds` until it is full again."""

    limit: int
    remaining: int
    reset_seconds: int

    def headers(self) -> dict[str, str]:
        return {
            "x-ratelimit-limit": str(self.limit),
            "x-ratelimit-remaining": str(self.remaining),
            "x-ratelimit-reset": str(self.reset_seconds),
        }


class Throttle:
    """One bucket for each caller. `monotonic` gives seconds."""

    def __init__(self, limit: int, monotonic: Callable[[], float]) -> None:
        self._limit = limit
        self._monotonic = monotonic
        self._windows: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def take(self, caller: str) -> Allowance:
        """Count one request of `caller`. Raises RateLimited when the window is spent."""
        now = self._monotonic()
        began, used = self._windows.pop(caller, (now, 0))
        if now - began >= WINDOW_SECONDS:
            began, used = now, 0
        self._windows[caller] = (began, used + 1)
        while len(self._windows) > MAX_CALLERS:
            self._windows.popitem(last=False)
        reset = max(1, math.ceil(began + WINDOW_SECONDS - now))
        allowance = Allowance(self._limit, max(0, self._limit - used - 1), reset)
        if used >= self._limit:
            raise RateLimited(
                f"More than {self._limit} requests in a minute; wait {reset} s.", retry_after=reset, headers=allowance.headers()
            )
        return allowance
