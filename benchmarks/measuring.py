"""How benchmarks measure and what they tell: ours beside something plain, turn by turn in one process, as a ratio. Judges nothing."""

from __future__ import annotations

import gc
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from statistics import median

# Does its deed and gives the seconds that it took; what it cleans up afterwards is not counted.
Contestant = Callable[[], Awaitable[float]]


@dataclass(frozen=True)
class Row:
    """One comparison. `ours` and `plain` are seconds for one deed, round by round; `command` is what `plain` stands for."""

    what: str
    command: str
    ours: Sequence[float]
    plain: Sequence[float]

    @property
    def ratios(self) -> list[float]:
        """Of each round by itself: what slows the machine for a while slows both."""
        return [mine / other for mine, other in zip(self.ours, self.plain, strict=True)]

    def text(self) -> str:
        return (
            f"{self.what}\n"
            f"    ratio {_shown(self.ratios, 1, '.2f')}, {len(self.ours)} rounds\n"
            f"    ours  {_shown(self.ours, 1000, '.2f')} ms\n"
            f"    plain {_shown(self.plain, 1000, '.2f')} ms: {self.command}"
        )


def _shown(values: Sequence[float], times: float, form: str) -> str:
    """Median with the smallest and the largest."""
    middle, least, most = (format(value * times, form) for value in (median(values), min(values), max(values)))
    return f"{middle} ({least} to {most})"


async def interleaved(rounds: int, *contestants: Contestant) -> list[list[float]]:
    """Seconds of each contestant, by round. Each has one round to warm up; the order is drawn anew for each round, because what
    one leaves to be cleaned up slows the next."""
    for contestant in contestants:
        await contestant()
    seconds: list[list[float]] = [[] for _ in contestants]
    for number in range(rounds):
        # Drawn with the round's number: another run takes them in the same order.
        for place in random.Random(number).sample(range(len(contestants)), len(contestants)):
            gc.collect()
            seconds[place].append(await contestants[place]())
    return seconds
