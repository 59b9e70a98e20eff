"""How long to wait before trying again: full jitter between a floor and a doubling ceiling; the server's word wins."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

FLOOR_SECONDS = 0.1


@dataclass(frozen=True)
class Backoff:
    """Ceilings in seconds: `first` after one failure, doubled with each further one up to `most`."""

    first: float = 1.0
    most: float = 60.0

    def ceiling(self, failures: int) -> float:
        # The exponent is bounded because 2.0 ** 1024 is an error, and a day of failures gets there.
        return min(self.most, self.first * 2.0 ** min(failures - 1, 32))

    def delay(self, failures: int, draw: float, asked: float | None = None) -> float:
        """Seconds to wait after `failures` in a row. `draw` is uniform in [0, 1); `asked` is the server's Retry-After."""
        if asked is not None:
            # A little later than asked, so that a thousand runners told the same do not come back as one.
            return asked + draw * min(self.first, asked)
        return max(FLOOR_SECONDS, draw * self.ceiling(failures))


@dataclass
class Patience:
    """A running count of failures for one loop or one call."""

    backoff: Backoff = Backoff()
    draw: Callable[[], float] = random.random
    failures: int = field(default=0, init=False)

    def next_delay(self, asked: float | None = None) -> float:
        self.failures += 1
        return self.backoff.delay(self.failures, self.draw(), asked)

    def reset(self) -> None:
        self.failures = 0
