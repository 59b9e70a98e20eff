"""Whether a call that failed is sent again, and when. Decides by error, call and number; waits for nothing itself.

A library for retries would log each one, and a program's standard output may be read by another program."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from apviso.client.calls import Call
from apviso.client.errors import ApvisoError, RateLimited, Unavailable, Unreachable, UnreadableAnswer

MAX_ATTEMPTS = 4
# For whoever waits for hours: a control plane that is away for a minute, because it is updated, is no reason to give up.
WAITING_ATTEMPTS = 12
FIRST_SECONDS, FLOOR_SECONDS, CEILING_SECONDS = 0.5, 0.1, 15.0
# Whoever is told to wait longer is told so by the error.
MAX_RETRY_AFTER_SECONDS = 60.0


class Patience:
    """Counts the failures of one call."""

    def __init__(self, *, may_repeat: bool, attempts: int = MAX_ATTEMPTS, draw: Callable[[], float] = random.random) -> None:
        self._may_repeat = may_repeat
        self._attempts = attempts
        self._draw = draw
        self._failures = 0

    def delay_after(self, error: ApvisoError) -> float | None:
        """Seconds until the next attempt; None where there is to be none."""
        self._failures += 1
        if not self._may_repeat or self._failures >= self._attempts:
            return None
        match error:
            case Unreachable():
                return self._pause()
            case UnreadableAnswer() if error.is_away:
                return self._pause()
            case RateLimited() | Unavailable() if error.retry_after is not None and error.retry_after <= MAX_RETRY_AFTER_SECONDS:
                return error.retry_after + self._draw() * min(FIRST_SECONDS, error.retry_after)
            case _:
                return None

    def _pause(self) -> float:
        # Half of it is chance, so that those who were cut off together do not come back together.
        ceiling = min(FIRST_SECONDS * 2.0 ** (self._failures - 1), CEILING_SECONDS)
        return max(FLOOR_SECONDS, ceiling * (0.5 + self._draw() / 2))


def patience_for(call: Call[Any]) -> Patience:
    return Patience(may_repeat=call.may_repeat, attempts=WAITING_ATTEMPTS if call.is_patient else MAX_ATTEMPTS)
