"""Decides what is kept of a runner's health: a few numbers for each quarter of an hour, of the last day. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import NamedTuple

from pydantic import JsonValue

from apviso.server.runners.history import BAR, BARS

# What a runner says may be anything; a number beyond this is none that could be kept.
_BEYOND = 2**62
MOST_PERCENT = 100_000


class Sample(NamedTuple):
    """What a runner had said last when it was looked at; None is what it did not say."""

    disk_free_bytes: int | None
    memory_available_bytes: int | None
    load_percent: int | None
    clock_skew_ms: int | None
    spool_backlog_bytes: int | None


def quarter_of(moment: datetime) -> int:
    """Quarters of an hour since 1970."""
    return int(moment.timestamp() // BAR.total_seconds())


def begin_of(quarter: int) -> datetime:
    return datetime.fromtimestamp(quarter * BAR.total_seconds(), UTC)


def place_of(quarter: int) -> int:
    """Where in the ring of a day it is kept, over what was there a day before."""
    return quarter % BARS


def sample_of(health: Mapping[str, JsonValue]) -> Sample | None:
    """None where it said nothing that could be kept."""
    load, processors = _number(health.get("loadAverage")), _number(health.get("cpuCount"))
    percent = None
    if load is not None and load >= 0 and processors is not None and processors >= 1:
        percent = round(min(load / processors * 100, MOST_PERCENT))
    sample = Sample(
        _whole(health.get("diskFreeBytes")),
        _whole(health.get("memoryAvailableBytes")),
        percent,
        _whole(health.get("clockSkewMs")),
        _whole(health.get("spoolBacklogBytes")),
    )
    return None if all(number is None for number in sample) else sample


def _number(value: JsonValue) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < _BEYOND:
        return None
    return float(value) if math.isfinite(value) else None


def _whole(value: JsonValue) -> int | None:
    number = _number(value)
    return None if number is None else round(number)
