"""Windows of the day: when one is open, when the next one comes, also over midnight and when the clocks change."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apviso.protocol.licenses import License
from apviso.server.localtime import (
    Hours,
    has_turned,
    is_within,
    keep_windows,
    local_time,
    next_closing,
    next_opening,
    next_turn,
    read_windows,
    span_at,
)
from apviso.server.runners.presence import next_change, presence_of
from apviso.server.scans.leases import why_not_claim
from tests.unit.known import NOW, POLICY, license_, runner

EVERY_DAY = frozenset(range(7))
NIGHT = Hours(EVERY_DAY, time(22), time(6), "Europe/Berlin")
# 2026-05-09 is a Saturday.
WEEKEND = Hours(frozenset({6}), time(0), time(0), "UTC")
LICENSE: License = license_()


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("window", "now", "opens", "closes"),
    [
        (NIGHT, "2026-05-03T12:00", "2026-05-03T20:00", None),
        (NIGHT, "2026-05-03T20:00", None, "2026-05-04T04:00"),
        (NIGHT, "2026-05-04T03:59", None, "2026-05-04T04:00"),
        (NIGHT, "2026-05-04T04:00", "2026-05-04T20:00", None),
        # The night of the change is an hour longer, or shorter.
        (NIGHT, "2026-10-24T21:00", None, "2026-10-25T05:00"),
        (NIGHT, "2027-03-27T22:00", None, "2027-03-28T04:00"),
        (WEEKEND, "2026-05-03T12:00", "2026-05-09T00:00", None),
        (WEEKEND, "2026-05-09T23:59", None, "2026-05-10T00:00"),
        # The clocks leave out the whole window: it comes again a week later.
        (Hours(frozenset({0}), time(2, 10), time(2, 50), "Europe/Berlin"), "2027-03-27T12:00", "2027-04-04T00:10", None),
    ],
)
def test_window_is_open_between_its_local_times(window: Hours, now: str, opens: str | None, closes: str | None) -> None:
    moment = at(now)

    assert is_within([window], moment) is (opens is None)
    assert next_opening([window], moment) == (moment if opens is None else at(opens))
    assert next_closing([window], moment) == (moment if closes is None else at(closes))
    assert next_turn([window], moment) == at(opens or closes or "")


def test_windows_that_meet_are_one() -> None:
    early, late = Hours(EVERY_DAY, time(6), time(12), "UTC"), Hours(EVERY_DAY, time(12), time(18), "UTC")

    span = span_at([late, early], at("2026-05-03T07:00"))

    assert span is not None
    assert (span.begins_at, span.ends_at) == (at("2026-05-03T06:00"), at("2026-05-03T18:00"))


def test_no_windows_are_never_open_and_never_turn() -> None:
    assert not is_within([], NOW)
    assert next_turn([], NOW) is None
    assert next_opening([], NOW) == next_closing([], NOW) == NOW


def test_windows_kept_are_read_as_they_were() -> None:
    assert read_windows(keep_windows((NIGHT, WEEKEND))) == (NIGHT, WEEKEND)
    assert read_windows(None) == ()


@given(
    minutes=st.integers(0, 525_600),
    days=st.frozensets(st.integers(0, 6), min_size=1),
    start=st.times(),
    end=st.times(),
    zone=st.sampled_from(["UTC", "Europe/Berlin", "Asia/Kolkata"]),
)
def test_window_is_open_exactly_while_the_clocks_show_its_times(
    minutes: int, days: frozenset[int], start: time, end: time, zone: str
) -> None:
    window = Hours(days, start.replace(second=0, microsecond=0), end.replace(second=0, microsecond=0), zone)
    now = at("2026-01-01T00:00") + timedelta(minutes=minutes)
    shown = local_time(now, ZoneInfo(zone))
    # On the days of a change the clocks alone do not tell.
    if local_time(now - timedelta(days=1), ZoneInfo(zone)).time() != shown.time():
        return
    today, yesterday = shown.isoweekday() % 7, (shown.isoweekday() - 1) % 7
    over_midnight = window.end <= window.start
    is_of_today = today in days and shown.time() >= window.start and (over_midnight or shown.time() < window.end)
    is_of_yesterday = over_midnight and yesterday in days and shown.time() < window.end

    assert is_within([window], now) is (is_of_today or is_of_yesterday)


def test_runner_in_maintenance_stays_online_and_claims_nothing() -> None:
    maintained = runner(maintenance_windows=(Hours(EVERY_DAY, time(9), time(10), "UTC"),))
    presence, over = presence_of(maintained, NOW, POLICY), NOW.replace(hour=10, minute=0, second=0)
    later = replace(maintained, last_heartbeat_at=over, last_contact_at=over)

    assert (presence.status, presence.is_accepting) == ("online", False)
    assert why_not_claim(maintained, presence, LICENSE, 0, 1, NOW) == "maintenance"
    assert why_not_claim(later, presence_of(later, over, POLICY), LICENSE, 0, 1, over) is None


def test_runner_is_looked_at_again_when_its_maintenance_begins() -> None:
    soon = NOW + timedelta(seconds=8)
    maintained = runner(maintenance_windows=(Hours(EVERY_DAY, soon.time(), time(10), "UTC"),))

    assert next_change(maintained, NOW, POLICY) == soon


@pytest.mark.parametrize(("turned", "now", "has"), [("22:00", "22:01", True), ("06:00", "06:01", True), ("22:00", "06:01", False)])
def test_window_has_turned_unless_it_is_again_as_it_was(turned: str, now: str, has: bool) -> None:
    windows = (Hours(EVERY_DAY, time(22), time(6), "UTC"),)
    turned_at = datetime.fromisoformat(f"2026-05-03T{turned}+00:00")
    at = datetime.fromisoformat(f"2026-05-03T{now}+00:00")

    assert has_turned(windows, turned_at, at if at > turned_at else at + timedelta(days=1)) is has
