"""Works out charts: where lines, bars and labels are. The templates draw them as SVG, with a table beside each for who reads no picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from apviso.protocol.findings import DayOfFindings
from apviso.protocol.scans import Load
from apviso.protocol.states import Severity

WIDTH, HEIGHT = 440, 132
LEFT, RIGHT, TOP, BOTTOM = 28, 6, 8, 112
_TOPS = (2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000)


@dataclass(frozen=True)
class Bar:
    """One part of a day's column."""

    severity: Severity
    x: float
    y: float
    height: float


@dataclass(frozen=True)
class LoadChart:
    """`running` is the outline of an area, `queued` a line over it."""

    top: int
    running: str
    queued: str
    most_running: int
    most_queued: int


@dataclass(frozen=True)
class TrendChart:
    top: int
    bar_width: float
    bars: list[Bar]
    total: int


def top_of(highest: int) -> int:
    """The round number at the upper end of a scale."""
    return next((top for top in _TOPS if top >= highest), highest)


def _x(position: float) -> float:
    return round(LEFT + position * (WIDTH - LEFT - RIGHT), 1)


def _y(share: float) -> float:
    return round(BOTTOM - share * (BOTTOM - TOP), 1)


def load_chart(moments: Sequence[Load]) -> LoadChart:
    top = top_of(max((max(one.running, one.queued) for one in moments), default=0))
    last = max(1, len(moments) - 1)

    def line(values: Sequence[int]) -> str:
        return " ".join(f"{_x(number / last)},{_y(value / top)}" for number, value in enumerate(values))

    running, queued = [one.running for one in moments], [one.queued for one in moments]
    outline = f"{_x(0)},{BOTTOM} {line(running)} {_x(1)},{BOTTOM}"
    return LoadChart(top, outline, line(queued), max(running, default=0), max(queued, default=0))


def trend_chart(days: Sequence[DayOfFindings]) -> TrendChart:
    counts = [[(severity, getattr(day.counts, severity)) for severity in Severity] for day in days]
    sums = [sum(count for _, count in of_day) for of_day in counts]
    top, slot = top_of(max(sums, default=0)), (WIDTH - LEFT - RIGHT) / max(1, len(days))
    bars: list[Bar] = []
    for number, of_day in enumerate(counts):
        below = 0
        for severity, count in of_day:
            if count:
                height = round(count / top * (BOTTOM - TOP), 1)
                below += count
                bars.append(Bar(severity, round(LEFT + number * slot + slot * 0.15, 1), _y(below / top), height))
    return TrendChart(top, round(slot * 0.7, 1), bars, sum(sums))
