"""What a runner said of its health over a day, as one line for each kind of number, with the same in words."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from pydantic import JsonValue

from apviso.protocol.runners import HealthSample, PresenceLimits, RunnerHealth
from apviso.server.dashboard.rendering import size

WIDTH, HEIGHT = 96, 24
_FULL_LOAD = 100


@dataclass(frozen=True)
class Trend:
    """`path` is of WIDTH by HEIGHT, broken where nothing was heard. `limit` is how far down the fault begins, where that can be seen."""

    name: str
    text: str
    path: str
    limit: float | None


@dataclass(frozen=True)
class _Kind:
    name: str
    value: Callable[[HealthSample], int | None]
    written: Callable[[float], str]
    # What the upper end of the scale is at least, and the limit of a fault.
    top: float
    limit: float | None = None


def trends_of(told: RunnerHealth, health: Mapping[str, JsonValue], limits: PresenceLimits) -> list[Trend]:
    """Of the kinds that it has said anything of. `health` is what it said last: how large its disk and its memory are."""
    kinds = (
        _Kind("Disk free", lambda one: one.disk_free_bytes, size, _whole(health.get("diskTotalBytes")), limits.disk_free_bytes),
        _Kind("Memory free", lambda one: one.memory_available_bytes, size, _whole(health.get("memoryTotalBytes"))),
        _Kind("Load", lambda one: one.load_percent, _percent, _FULL_LOAD),
        _Kind("Clock off", _skew, _seconds, 2.0 * limits.clock_skew_ms, limits.clock_skew_ms),
        _Kind(
            "Spool",
            lambda one: one.spool_backlog_bytes,
            size,
            2.0 * limits.spool_backlog_bytes,
            limits.spool_backlog_bytes,
        ),
    )
    return [trend for kind in kinds if (trend := _trend(kind, told)) is not None]


def _trend(kind: _Kind, told: RunnerHealth) -> Trend | None:
    points = [
        (int((one.at - told.since).total_seconds() // told.sample_seconds), float(max(0, value)))
        for one in told.samples
        if (value := kind.value(one)) is not None
    ]
    if not points:
        return None
    values = [value for _, value in points]
    top = max(kind.top, *values, 1.0)
    least, most, last = (kind.written(value) for value in (min(values), max(values), values[-1]))
    text = f"{last} last, {least} to {most}"
    return Trend(kind.name, text, _path(points, top), None if kind.limit is None else _y(kind.limit / top))


def _path(points: Sequence[tuple[int, float]], top: float) -> str:
    """A step for each sample, so that one alone is seen as well."""
    drawn, expected = [], None
    for place, value in points:
        y = _y(value / top)
        drawn.append(f"L{place} {y}h1" if place == expected else f"M{place} {y}h1")
        expected = place + 1
    return "".join(drawn)


def _y(share: float) -> float:
    return round(HEIGHT - 1 - min(1.0, share) * (HEIGHT - 2), 1)


def _whole(value: JsonValue) -> float:
    """How large something is in all, where a runner says so in a number that can be drawn."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 2**62
    return float(value) if is_number and isinstance(value, int | float) else 0.0


def _skew(sample: HealthSample) -> int | None:
    return None if sample.clock_skew_ms is None else abs(sample.clock_skew_ms)


def _percent(value: float) -> str:
    return f"{value:.0f} %"


def _seconds(milliseconds: float) -> str:
    return f"{milliseconds / 1000:.1f} s"
