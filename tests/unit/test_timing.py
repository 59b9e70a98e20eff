"""When a schedule is due: each local time once, whatever the clocks do, and each run accounted for by a server that sleeps."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from itertools import islice, takewhile
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from apviso.protocol.schedules import Frequency, IfMissed
from apviso.server.errors import InvalidFields
from apviso.server.localtime import moment_of
from apviso.server.schedules.missing import CAUGHT_UP_LATER, LOOKED_BACK, MOST_TOLD, SERVER_DOWN, plan
from apviso.server.schedules.timing import Timing, check, next_after, upcoming

BEGIN = datetime(2026, 5, 3, 9, 15, 32, tzinfo=UTC)
GRACE = timedelta(minutes=5)
MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
# Clocks that change by an hour, by half an hour, at midnight, and never.
ZONES = ("Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "America/Santiago", "Asia/Kolkata", "UTC")


def timing(frequency: str | None = "daily", **more: Any) -> Timing:
    said: dict[str, Any] = {"hour": 2, "minute": 30, "day_of_week": None, "day_of_month": None, "cron": None, "time_zone": "UTC"}
    if frequency is None:
        said |= {"hour": None, "minute": None}
    return Timing(frequency=None if frequency is None else Frequency(frequency), since=BEGIN, **{**said, **more})


def cron(expression: str, zone: str = "UTC") -> Timing:
    return timing(None, cron=expression, time_zone=zone)


def first_shown(local: datetime, zone: ZoneInfo) -> datetime:
    """The first minute at which the clocks show `local` or have passed it: found by watching them."""
    moment = local.replace(tzinfo=UTC) - timedelta(hours=15)
    passed = local - timedelta(hours=2)
    while moment.astimezone(zone).replace(tzinfo=None) < passed:
        moment += timedelta(hours=1)
    moment -= timedelta(hours=1)
    while moment.astimezone(zone).replace(tzinfo=None) < local:
        moment += MINUTE
    return moment


def days_of(begin: datetime, days: int, zone: ZoneInfo) -> Iterator[date]:
    first = begin.astimezone(zone).date()
    return (first + number * DAY for number in range(days))


@pytest.mark.parametrize("name", ZONES)
@pytest.mark.parametrize("at", [time(0, 0), time(2, 15)])
def test_daily_schedule_over_a_year_comes_once_on_each_local_day(name: str, at: time) -> None:
    zone = ZoneInfo(name)

    found = list(islice(upcoming(timing(hour=at.hour, minute=at.minute, time_zone=name), BEGIN), 365))

    expected = [first_shown(datetime.combine(day, at), zone) for day in days_of(BEGIN, 367, zone)]
    assert found == [moment for moment in expected if moment > BEGIN][:365]


def test_time_that_the_clocks_leave_out_comes_at_the_first_moment_after_it() -> None:
    before = datetime(2027, 3, 27, 12, tzinfo=UTC)

    found = list(islice(upcoming(timing(time_zone="Europe/Berlin"), before), 2))

    assert found == [datetime(2027, 3, 28, 1, 0, tzinfo=UTC), datetime(2027, 3, 29, 0, 30, tzinfo=UTC)]


def test_time_that_comes_twice_counts_the_first_time() -> None:
    before = datetime(2026, 10, 24, 12, tzinfo=UTC)

    found = list(islice(upcoming(timing(time_zone="Europe/Berlin"), before), 2))

    assert found == [datetime(2026, 10, 25, 0, 30, tzinfo=UTC), datetime(2026, 10, 26, 1, 30, tzinfo=UTC)]


def test_next_time_asked_for_within_the_repeated_hour_is_another_one() -> None:
    again = datetime(2026, 10, 25, 1, 10, tzinfo=UTC)  # 02:10 for the second time

    assert next_after(timing(time_zone="Europe/Berlin"), again) == datetime(2026, 10, 26, 1, 30, tzinfo=UTC)


def test_cron_times_that_are_left_out_together_come_once() -> None:
    before = datetime(2027, 3, 28, 0, 59, tzinfo=UTC)

    found = list(islice(upcoming(cron("0,30 2,3 * * *", "Europe/Berlin"), before), 3))

    assert [moment.isoformat()[:16] for moment in found] == ["2027-03-28T01:00", "2027-03-28T01:30", "2027-03-29T00:00"]


def test_hourly_cron_over_both_changes_counts_each_local_hour_once() -> None:
    hours = cron("0 * * * *", "Europe/Berlin")

    spring = takewhile(
        lambda moment: moment < datetime(2027, 3, 28, 22, tzinfo=UTC), upcoming(hours, datetime(2027, 3, 27, 22, 59, tzinfo=UTC))
    )
    autumn = takewhile(
        lambda moment: moment < datetime(2026, 10, 25, 23, tzinfo=UTC), upcoming(hours, datetime(2026, 10, 24, 21, 59, tzinfo=UTC))
    )

    assert (len(list(spring)), len(list(autumn))) == (23, 24)


def test_a_day_that_a_zone_leaves_out_comes_when_it_is_over() -> None:
    samoa = ZoneInfo("Pacific/Apia")

    assert moment_of(datetime.combine(date(2011, 12, 30), time(12)), samoa) == datetime(2011, 12, 30, 10, tzinfo=UTC)


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        (timing("weekly", day_of_week=0), ["2026-05-10", "2026-05-17", "2026-05-24"]),
        (timing("weekly"), ["2026-05-04", "2026-05-11", "2026-05-18"]),
        (timing("biweekly", day_of_week=3), ["2026-05-06", "2026-05-20", "2026-06-03"]),
        (timing("monthly", day_of_month=28), ["2026-05-28", "2026-06-28", "2026-07-28"]),
        (timing("monthly"), ["2026-06-01", "2026-07-01", "2026-08-01"]),
        (cron("30 2 L * *"), ["2026-05-31", "2026-06-30", "2026-07-31"]),
        (cron("30 2 * * MON#1"), ["2026-05-04", "2026-06-01", "2026-07-06"]),
        (cron("30 2 29 2 *"), ["2028-02-29", "2032-02-29", "2036-02-29"]),
    ],
)
def test_schedule_of_each_kind_comes_on_its_days(told: Timing, expected: list[str]) -> None:
    check(told)

    assert [moment.date().isoformat() for moment in islice(upcoming(told, BEGIN), 3)] == expected


def test_biweekly_schedule_asked_for_at_any_time_keeps_its_weeks() -> None:
    told = timing("biweekly", day_of_week=0, time_zone="Europe/Berlin")
    year = list(islice(upcoming(told, BEGIN), 26))

    asked_later = [next_after(told, moment - DAY) for moment in year]

    assert asked_later == year


@pytest.mark.parametrize(
    ("told", "field"),
    [
        (timing(None), "frequency"),
        (timing("daily", cron="0 2 * * *"), "frequency"),
        (timing("daily", hour=None), "hour"),
        (timing(None, cron="0 2 * * *", hour=2), "cron"),
        (cron("0 2 * *"), "cron"),
        (cron("0 0 2 * * *"), "cron"),
        (cron("61 2 * * *"), "cron"),
        (cron("@daily     "), "cron"),
        (cron("0 2 30 2 *"), "cron"),
        (cron("0 0 31 4,6 *"), "cron"),
        (cron("* * * * *"), "cron"),
        (cron("0,10 2 * * 0"), "cron"),
    ],
)
def test_what_is_no_schedule_is_refused_by_its_field(told: Timing, field: str) -> None:
    with pytest.raises(InvalidFields) as refused:
        check(told)

    assert refused.value.members["errors"][0]["field"] == field  # type: ignore[index,call-overload]


# ---- a server that sleeps


def test_year_with_a_server_that_sleeps_accounts_for_each_run_once() -> None:
    told = timing(time_zone="Europe/Berlin")
    every = list(takewhile(lambda moment: moment < BEGIN + 365 * DAY, upcoming(told, BEGIN)))
    asleep = [(BEGIN + number * 29 * DAY, BEGIN + number * 29 * DAY + timedelta(days=number % 4, hours=7)) for number in range(1, 12)]
    now, due, seen = BEGIN, next_after(told, BEGIN), []

    while now < BEGIN + 365 * DAY:
        now += timedelta(minutes=3)
        now = next((end for begin, end in asleep if begin <= now < end), now)
        if due is not None and due <= now:
            planned = plan(told, due, now, GRACE, IfMissed.SKIP)
            seen += [(run.at, run.reason_code) for run in planned.runs]
            due = planned.next_at

    slept = {moment for moment in every if any(begin <= moment < end - GRACE for begin, end in asleep)}
    assert [moment for moment, _ in seen] == every
    assert {moment for moment, code in seen if code == SERVER_DOWN} == slept
    assert len(slept) > 10


def test_runs_that_were_missed_are_caught_up_once() -> None:
    first = datetime(2026, 5, 4, 2, 30, tzinfo=UTC)

    planned = plan(timing(), first, first + 3 * DAY + timedelta(hours=1), GRACE, IfMissed.CATCH_UP)

    assert [(run.at, run.is_late, run.reason_code) for run in planned.runs] == [
        (first, True, CAUGHT_UP_LATER),
        (first + DAY, True, CAUGHT_UP_LATER),
        (first + 2 * DAY, True, CAUGHT_UP_LATER),
        (first + 3 * DAY, True, None),
    ]
    assert planned.next_at == first + 4 * DAY


@pytest.mark.parametrize(("late", "started"), [(timedelta(), True), (GRACE, True), (GRACE + timedelta(seconds=1), False)])
def test_run_within_the_grace_is_started_as_if_on_time(late: timedelta, started: bool) -> None:
    first = datetime(2026, 5, 4, 2, 30, tzinfo=UTC)

    planned = plan(timing(), first, first + late, GRACE, IfMissed.SKIP)

    assert [(run.reason_code is None, run.is_late) for run in planned.runs] == [(started, not started)]


def test_server_that_slept_for_years_accounts_for_the_latest_runs() -> None:
    first = datetime(2026, 5, 4, 2, 30, tzinfo=UTC)
    now = first + 1000 * DAY

    planned = plan(cron("*/15 * * * *"), first, now, GRACE, IfMissed.SKIP)

    assert len(planned.runs) == MOST_TOLD
    assert planned.runs[-1].at == now
    assert planned.runs[-1].reason_code is None
    assert "runs before it" in planned.runs[0].reason
    assert planned.runs[0].at > now - LOOKED_BACK
