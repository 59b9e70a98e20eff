"""What a runner's page draws and lists, as plain numbers and words: strips of status, gauges with their limit, facts in rows."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby

from pydantic import JsonValue

from apviso.protocol.runners import PresenceLimits, StatusInterval
from apviso.server.dashboard.rendering import size

LETTERS = {"o": "online", "d": "degraded", "x": "offline", "r": "revoked", "-": "not known"}
HIGHEST = 12
HEIGHTS = {"o": 12, "d": 8, "x": 4, "r": 2}
_HEIGHT_OF = {LETTERS[letter]: height for letter, height in HEIGHTS.items()}
# Units of a strip's width; the narrowest stretch is still seen.
WIDTH = 1000
NARROWEST = 2.0
# More would be a megabyte of strip.
MOST_STRETCHES = 300
MOST_FACTS, LONGEST_FACT = 60, 400


@dataclass(frozen=True)
class Stretch:
    """An interval as it is drawn."""

    x: float
    y: int
    width: float
    height: int
    interval: StatusInterval


@dataclass(frozen=True)
class Gauge:
    """`value` and `limit` are shares of the whole width, 0 to 100."""

    name: str
    text: str
    value: float
    limit: float
    is_bad: bool


def paths_of(bars: str) -> list[tuple[str, str]]:
    """One path for each status, of 96 by 12: how high it is and its color both say what it is. What is not known is left empty."""
    drawn, x = dict[str, list[str]](), 0
    for letter, group in groupby(bars):
        width = len(list(group))
        if letter in HEIGHTS:
            height = HEIGHTS[letter]
            drawn.setdefault(letter, []).append(f"M{x} {HIGHEST - height}h{width}v{height}h-{width}z")
        x += width
    return [(LETTERS[letter], "".join(parts)) for letter, parts in drawn.items()]


def in_words(bars: str) -> str:
    """What a strip shows, for who does not see it."""
    parts = [f"{LETTERS[letter]} {bars.count(letter) / len(bars):.0%}" for letter in LETTERS if letter in bars]
    return f"Last 24 h: {', '.join(parts)}"


def stretches_of(intervals: Sequence[StatusInterval], begin: datetime, now: datetime) -> list[Stretch]:
    """The latest intervals as stretches of a strip from `begin` to `now`."""
    whole = (now - begin).total_seconds()
    found = []
    for interval in intervals[-MOST_STRETCHES:]:
        since, until = max(interval.since, begin), min(interval.until or now, now)
        x = (since - begin).total_seconds() / whole * WIDTH
        width = max(NARROWEST, (until - since).total_seconds() / whole * WIDTH)
        height = _HEIGHT_OF[interval.status]
        found.append(Stretch(round(min(x, WIDTH - NARROWEST), 1), HIGHEST - height, round(width, 1), height, interval))
    return found


def gauges_of(health: Mapping[str, JsonValue], limits: PresenceLimits) -> list[Gauge]:
    """Disk, clock and spool, as far as the runner has said."""
    found = []
    free, total = _number(health.get("diskFreeBytes")), _number(health.get("diskTotalBytes"))
    if free is not None:
        whole = total if total else max(free, 4.0 * limits.disk_free_bytes)
        of = f" of {size(total)}" if total else ""
        text = f"{size(free)} free{of}; a fault below {size(limits.disk_free_bytes)}"
        found.append(_gauge("Disk", text, free, limits.disk_free_bytes, whole, is_bad=free < limits.disk_free_bytes))
    skew = _number(health.get("clockSkewMs"))
    if skew is not None:
        text = f"{abs(skew) / 1000:.1f} s {'ahead' if skew > 0 else 'behind'}; a fault beyond {limits.clock_skew_ms / 1000:g} s"
        found.append(
            _gauge("Clock", text, abs(skew), limits.clock_skew_ms, 2.0 * limits.clock_skew_ms, is_bad=abs(skew) > limits.clock_skew_ms)
        )
    waiting = _number(health.get("spoolBacklogBytes"))
    if waiting is not None:
        text = f"{size(waiting)} wait to be sent; a fault beyond {size(limits.spool_backlog_bytes)}"
        is_bad = waiting > limits.spool_backlog_bytes
        found.append(_gauge("Spool", text, waiting, limits.spool_backlog_bytes, 2.0 * limits.spool_backlog_bytes, is_bad=is_bad))
    return found


def _gauge(name: str, text: str, value: float, limit: float, whole: float, *, is_bad: bool) -> Gauge:
    def share(part: float) -> float:
        return round(min(1.0, max(0.0, part / whole)) * 100, 1) if whole > 0 else 0.0

    return Gauge(name, text, share(value), share(limit), is_bad)


def _number(value: JsonValue) -> float | None:
    """What a runner says is anything; only a number that can be drawn is one."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) and abs(value) < 2**63 else None


def rows_of(facts: Mapping[str, JsonValue]) -> list[tuple[str, str]]:
    """Nested facts as names and texts: `engine.version`, `28.0`. Long ones are cut, and so is the list."""
    rows = list[tuple[str, str]]()
    for name, text in _flat("", facts):
        if len(rows) == MOST_FACTS:
            rows.append(("…", "more than is shown here"))
            break
        rows.append((_cut(name), _cut(text)))
    return rows


def _flat(name: str, value: JsonValue | Mapping[str, JsonValue]) -> Iterator[tuple[str, str]]:
    match value:
        case Mapping():
            for key, inner in value.items():
                yield from _flat(f"{name}.{key}" if name else key, inner)
        case list():
            yield name, ", ".join(_text(item) for item in value) or "none"
        case _:
            yield name, _text(value)


def _text(value: JsonValue | Mapping[str, JsonValue]) -> str:
    match value:
        case bool():
            return "yes" if value else "no"
        case None:
            return "not known"
        case _:
            return str(value)


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST_FACT else f"{text[:LONGEST_FACT]}… ({len(text)} characters)"
