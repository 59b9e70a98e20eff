"""How benchmarks measure and what they tell: sides that take turns, compared round by round; bars say what was promised."""

from __future__ import annotations

import gc
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Protocol, TypeVar

Result = TypeVar("Result")
# Does its deed and gives the seconds that it took; what it cleans up afterwards is not counted.
Contestant = Callable[[], Awaitable[float]]


class Told(Protocol):
    """What a benchmark has to tell, as text of several lines."""

    def text(self) -> str: ...


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
        return ratios(self.ours, self.plain)

    def text(self) -> str:
        return (
            f"{self.what}\n"
            f"    ratio {_shown(self.ratios, 1, '.2f')}, {len(self.ours)} rounds\n"
            f"    ours  {_shown(self.ours, 1000, '.2f')} ms\n"
            f"    plain {_shown(self.plain, 1000, '.2f')} ms: {self.command}"
        )


@dataclass(frozen=True)
class Side:
    """What one side of a bar measured, round by round."""

    name: str
    values: Sequence[float]
    unit: str


@dataclass(frozen=True)
class Bar:
    """A promise: `values` (mostly ratios, round by round) stay at least, or at most, at `goal`.

    Met when the median keeps the goal and no round is worse than twice as far from it: half of a least, double of a most.
    """

    name: str
    what: str
    values: Sequence[float]
    goal: float
    at_least: bool
    sides: Sequence[Side] = field(default_factory=tuple)
    unit: str = "x"

    @property
    def is_met(self) -> bool:
        if self.at_least:
            return median(self.values) >= self.goal and min(self.values) >= self.goal / 2
        return median(self.values) <= self.goal and max(self.values) <= self.goal * 2

    def text(self) -> str:
        lines = [
            f"{self.name}  {self.what}: {'met' if self.is_met else 'MISSED'}",
            f"    {_shown(self.values, 1, '.3g')} {self.unit}, goal {'at least' if self.at_least else 'at most'} {self.goal:g},"
            f" {len(self.values)} rounds",
            *(f"    {_shown(side.values, 1, '.4g')} {side.unit}: {side.name}" for side in self.sides),
        ]
        return "\n".join(lines)


@dataclass(frozen=True)
class Absent:
    """What could not be measured here, and why."""

    what: str
    why: str

    def text(self) -> str:
        return f"{self.what}: absent\n    {self.why}"


def ratios(ours: Sequence[float], others: Sequence[float]) -> list[float]:
    """Of each round by itself."""
    return [mine / other for mine, other in zip(ours, others, strict=True)]


def _shown(values: Sequence[float], times: float, form: str) -> str:
    """Median with the smallest and the largest."""
    middle, least, most = (format(value * times, form) for value in (median(values), min(values), max(values)))
    return f"{middle} ({least} to {most})"


async def interleaved(rounds: int, *contestants: Callable[[], Awaitable[Result]]) -> list[list[Result]]:
    """What each contestant gives, by round. Each has one round to warm up; the order is drawn anew for each round, because what
    one leaves to be cleaned up slows the next."""
    for contestant in contestants:
        await contestant()
    given: list[list[Result]] = [[] for _ in contestants]
    for number in range(rounds):
        # Drawn with the round's number: another run takes them in the same order.
        for place in random.Random(number).sample(range(len(contestants)), len(contestants)):
            gc.collect()
            given[place].append(await contestants[place]())
    return given
