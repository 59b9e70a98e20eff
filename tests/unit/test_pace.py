from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apviso.runner.heartbeat import interval_with_jitter
from apviso.server.pace import COUNT_EVERY, PATIENT_FOR, SLOWEST, Pace
from tests.unit.known import NOW, TIMERS, seconds


@pytest.mark.parametrize(
    ("runners", "interval"), [(0, 15), (1, 15), (30_000, 15), (30_001, 16.5), (60_000, 30), (120_000, 60), (10**7, 60)]
)
def test_interval_grows_with_the_fleet_up_to_its_bound(runners: int, interval: float) -> None:
    pace = Pace(TIMERS, 2_000)

    pace.count(runners, NOW)

    assert pace.interval == seconds(interval)
    assert pace.interval_ms == interval * 1000


@given(fleets=st.lists(st.integers(0, 200_000), min_size=1, max_size=15))
def test_two_beats_always_fit_before_a_runner_is_late(fleets: list[int]) -> None:
    pace, told = Pace(TIMERS, 2_000), list[float]()

    for number, fleet in enumerate(fleets):
        pace.count(fleet, NOW + number * COUNT_EVERY)
        told = [*told, pace.interval.total_seconds()][-2:]

        # Also for those who were told before the fleet shrank.
        assert all(2 * interval_with_jitter(interval, 1.0) < pace.timers.heartbeat_late_after.total_seconds() for interval in told)
        assert pace.timers.offline_after < TIMERS.stale_end_after
        assert pace.interval <= SLOWEST * TIMERS.heartbeat_interval


def test_patience_after_the_fleet_shrank_ends() -> None:
    pace = Pace(TIMERS, 2_000)
    pace.count(60_000, NOW)

    pace.count(10, NOW + COUNT_EVERY)
    soon = pace.interval, pace.timers.heartbeat_late_after
    pace.count(10, NOW + COUNT_EVERY + PATIENT_FOR)

    assert soon == (seconds(15), seconds(70))
    assert pace.timers == TIMERS


def test_runners_are_counted_once_a_minute() -> None:
    pace = Pace(TIMERS, 2_000)
    before = pace.is_due(NOW)

    pace.count(1, NOW)

    later = [pace.is_due(NOW + timedelta(seconds=after)) for after in (0, 59, 60, -1)]
    assert (before, later) == (True, [False, False, True, True])
