"""Whether a call that failed is sent again, and when. Decides by error, call and number; waits for nothing itself.

A library for retries would log each one, and a program's standard output may be read by another program."""

from __future__ import annotations

import random
from collections.abc import Callable

from apviso.client.errors import ApvisoError, RateLimited, Unavailable, Unreachable

MAX_ATTEMPTS = 4
FIRST_SECONDS, FLOOR_SECONDS = 0.5, 0.1
# Whoever is told to wait longer is told so by the error.
MAX_RETRY_AFTER_SECONDS = 60.0


class Patience:
    """Counts the failures of one call."""

    def __init__(self, *, may_repeat: bool, draw: Callable[[], float] = random.random) -> None:
        self._may_repeat = may_repeat
        self._draw = draw
        self._failures = 0

    def delay_after(self, error: ApvisoError) -> float | None:
        """Seconds until the next attempt; None where there is to be none."""
        self._failures += 1
        if not self._may_repeat or self._failures >= MAX_ATTEMPTS:
            return None
        match error:
            case Unreachable():
                # Half of it is chance, so that those who were cut off together do not come back together.
                ceiling = FIRST_SECONDS * 2.0 ** (self._failures - 1)
                return max(FLOOR_SECONDS, ceiling * (0.5 + self._draw() / 2))
            case RateLimited() | Unavailable() if error.retry_after is not None and error.retry_after <= MAX_RETRY_AFTER_SECONDS:
                return error.retry_after + self._draw() * min(FIRST_SECONDS, error.retry_after)
            case _:
                return None

    def reset(self) -> None:
        self._failures = 0
