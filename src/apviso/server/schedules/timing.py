"""Decides when a schedule is due: its frequency or cron expression, read in its time zone. Pure.

Each local time counts once, as `localtime` says, whatever the clocks do."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice, pairwise, takewhile
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from apviso.protocol.schedules import Frequency
from apviso.server.errors import field_refused
from apviso.server.localtime import local_time, moment_of

# A scan takes longer than that; what is due more often would mostly find the last one at work.
SHORTEST_INTERVAL = timedelta(minutes=15)
# Enough to meet each step of an expression that is not made to hide one.
_INTERVALS_TRIED, _TRIED_FOR = 200, timedelta(days=400)
_MONDAY, _FIRST_OF_MONTH = 1, 1
_CRON_FIELDS = 5
_FORTNIGHT_DAYS = 14


@dataclass(frozen=True)
class Timing:
    """`since`: the first run after it is the one from which a biweekly schedule counts."""

    frequency: Frequency | None
    hour: int | None
    minute: int | None
    day_of_week: int | None
    day_of_month: int | None
    cron: str | None
    time_zone: str
    since: datetime


def check(timing: Timing) -> None:
    """Raises InvalidFields for what is no schedule, or one that never comes, or one that comes too often."""
    if (timing.frequency is None) == (timing.cron is None):
        raise field_refused("frequency", "is needed, or cron; a schedule has one of them and not both")
    if timing.cron is None:
        if timing.hour is None:
            raise field_refused("hour", "is needed with a frequency")
        return
    if any(said is not None for said in (timing.hour, timing.minute, timing.day_of_week, timing.day_of_month)):
        raise field_refused("cron", "says all of hour, minute and day; leave these out")
    if len(timing.cron.split()) != _CRON_FIELDS:
        raise field_refused("cron", "has five fields: minute, hour, day of the month, month, day of the week")
    try:
        is_ever = next_after(timing, timing.since) is not None
    except CronSimError as error:
        raise field_refused("cron", f"cannot be read: {error}") from error
    if not is_ever:
        raise field_refused("cron", "never comes; no date fits it")
    in_a_year = takewhile(lambda moment: moment < timing.since + _TRIED_FOR, upcoming(timing, timing.since))
    if any(later - earlier < SHORTEST_INTERVAL for earlier, later in pairwise(islice(in_a_year, _INTERVALS_TRIED))):
        raise field_refused("cron", f"comes more often than every {SHORTEST_INTERVAL.total_seconds() / 60:g} minutes")


def upcoming(timing: Timing, after: datetime) -> Iterator[datetime]:
    """The moments later than `after` at which it is due."""
    zone, last = ZoneInfo(timing.time_zone), after
    for local in _local_times(timing, local_time(after, zone), zone):
        moment = moment_of(local, zone)
        # Two times that the clocks leave out come at the same moment; one that is shown twice came before.
        if moment > last:
            yield moment
            last = moment


def next_after(timing: Timing, after: datetime) -> datetime | None:
    return next(upcoming(timing, after), None)


def _local_times(timing: Timing, after: datetime, zone: ZoneInfo) -> Iterator[datetime]:
    """What the clocks show then. Without a zone the library knows no change of clocks, so that these are treated in one place alone."""
    times = CronSim(_expression(timing), after)
    if timing.frequency is not Frequency.BIWEEKLY:
        return times
    anchor = next(CronSim(_expression(timing), local_time(timing.since, zone))).date()
    return (local for local in times if (local.date() - anchor).days % _FORTNIGHT_DAYS == 0)


def _expression(timing: Timing) -> str:
    at = f"{timing.minute or 0} {timing.hour}"
    match timing.frequency:
        case Frequency.DAILY:
            return f"{at} * * *"
        case Frequency.WEEKLY | Frequency.BIWEEKLY:
            return f"{at} * * {_MONDAY if timing.day_of_week is None else timing.day_of_week}"
        case Frequency.MONTHLY:
            return f"{at} {timing.day_of_month or _FIRST_OF_MONTH} * *"
        case None:
            return timing.cron or ""
