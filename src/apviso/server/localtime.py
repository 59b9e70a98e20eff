"""What local times mean: at which moment one comes, and whether a window of them is open. Pure.

A time that a change of the clocks leaves out comes at the first moment after it; one that comes twice counts the first time."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

# Windows come again every week: what lies further ahead was decided by a clock that was ahead.
FURTHEST_WINDOW = timedelta(days=8)
_DAY = timedelta(days=1)
# Two weeks: a window that falls into the hour that a change of the clocks leaves out comes again a week later.
_DAYS_AHEAD = 15


def moment_of(local: datetime, zone: ZoneInfo) -> datetime:
    """When the clocks of `zone` first show `local`, which has no zone of its own; in UTC."""
    first, second = (local.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
    if first <= second:
        return first
    # Never shown: the offsets of before and after lie on both sides of the change.
    around = range(int((first - second).total_seconds()) + 1)
    passed = bisect_left(around, True, key=lambda seconds: local_time(second + timedelta(seconds=seconds), zone) > local)
    return second + timedelta(seconds=passed)


def local_time(moment: datetime, zone: ZoneInfo) -> datetime:
    """What the clocks of `zone` show."""
    return moment.astimezone(zone).replace(tzinfo=None, fold=0)


@dataclass(frozen=True)
class Hours:
    """A window. `days` are those on which it begins, 0 is Sunday; one that ends no later than it starts ends on the next day."""

    days: frozenset[int]
    start: time
    end: time
    zone: str


@dataclass(frozen=True, order=True)
class Span:
    """From `begins_at` on, before `ends_at`."""

    begins_at: datetime
    ends_at: datetime


def read_windows(kept: Iterable[Mapping[str, Any]] | None) -> tuple[Hours, ...]:
    """As the database keeps them."""
    return tuple(
        Hours(frozenset(one["days"]), time.fromisoformat(one["start"]), time.fromisoformat(one["end"]), one["timeZone"])
        for one in kept or ()
    )


def keep_windows(windows: Iterable[Hours]) -> list[dict[str, Any]]:
    """As the database keeps them, and as people see them."""
    return [{"days": sorted(one.days), "start": f"{one.start:%H:%M}", "end": f"{one.end:%H:%M}", "timeZone": one.zone} for one in windows]


def span_at(windows: Sequence[Hours], now: datetime) -> Span | None:
    """The span that `now` is in, else the next one; windows that meet or overlap are one. None without windows."""
    lasting: Span | None = None
    for span in sorted(found for window in windows for found in _spans(window, now) if found.ends_at > now):
        if lasting is None:
            lasting = span
        elif span.begins_at > lasting.ends_at:
            break
        else:
            lasting = Span(lasting.begins_at, max(lasting.ends_at, span.ends_at))
    return lasting


def is_within(windows: Sequence[Hours], now: datetime) -> bool:
    """Whether one of them is open; without any, none is."""
    span = span_at(windows, now)
    return span is not None and span.begins_at <= now


def next_opening(windows: Sequence[Hours], now: datetime) -> datetime:
    """`now` where one is open, or where there is none to be waited for."""
    span = span_at(windows, now)
    return now if span is None else max(now, span.begins_at)


def next_closing(windows: Sequence[Hours], now: datetime) -> datetime:
    """`now` where none is open."""
    span = span_at(windows, now)
    return span.ends_at if span is not None and span.begins_at <= now else now


def next_turn(windows: Sequence[Hours], now: datetime) -> datetime | None:
    """When one next opens or closes."""
    span = span_at(windows, now)
    return None if span is None else span.begins_at if span.begins_at > now else span.ends_at


def has_turned(windows: Sequence[Hours], turned_at: datetime, now: datetime) -> bool:
    """Whether they are open now and were not just before `turned_at`, or the other way round."""
    return is_within(windows, now) is not is_within(windows, turned_at - timedelta.resolution)


def _spans(window: Hours, now: datetime) -> Iterable[Span]:
    # Yesterday's may still be open.
    first = local_time(now, ZoneInfo(window.zone)).date() - _DAY
    spans = (_span(window, first + number * _DAY) for number in range(_DAYS_AHEAD + 1))
    return (span for span in spans if span is not None)


@lru_cache(maxsize=10_000)
def _span(window: Hours, day: date) -> Span | None:
    if day.isoweekday() % 7 not in window.days:
        return None
    zone, last = ZoneInfo(window.zone), day if window.end > window.start else day + _DAY
    span = Span(moment_of(datetime.combine(day, window.start), zone), moment_of(datetime.combine(last, window.end), zone))
    return span if span.begins_at < span.ends_at else None
