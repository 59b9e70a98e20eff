"""What is kept and drawn of a runner's health, whatever it says."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apviso.protocol.runners import HealthSample, RunnerHealth
from apviso.protocol.timers import Timers
from apviso.server.dashboard.trends import HEIGHT, trends_of
from apviso.server.runners.health import Sample, begin_of, place_of, quarter_of, sample_of
from apviso.server.runners.presence import PresencePolicy, limits_of
from tests.unit.known import NOW

LIMITS = limits_of(PresencePolicy(Timers(), NOW))
FIRST = quarter_of(NOW) - 95
GIB = 1024**3
NAMES = ("diskFreeBytes", "memoryAvailableBytes", "loadAverage", "cpuCount", "clockSkewMs", "spoolBacklogBytes", "diskTotalBytes")
ANYTHING = st.sampled_from([None, True, "much", [1], 0, -1, 2**40, 2**62, -(2**70), 0.5, 1e18, float("nan"), float("inf"), -float("inf")])


def _day(*said: tuple[int, dict[str, Any]]) -> RunnerHealth:
    """Samples by their place since the first quarter."""
    kept = [(place, sample_of(health)) for place, health in said]
    samples = [HealthSample(at=begin_of(FIRST + place), **sample._asdict()) for place, sample in kept if sample is not None]
    return RunnerHealth(since=begin_of(FIRST), sample_seconds=900, samples=samples)


@pytest.mark.parametrize(
    ("health", "expected"),
    [
        (
            {"diskFreeBytes": 5 * GIB, "memoryAvailableBytes": GIB, "loadAverage": 1.5, "cpuCount": 4, "clockSkewMs": -3},
            Sample(5 * GIB, GIB, 38, -3, None),
        ),
        ({"loadAverage": 1.5}, None),
        ({"loadAverage": 1.5, "cpuCount": 0, "spoolBacklogBytes": 0}, Sample(None, None, None, None, 0)),
        ({"diskFreeBytes": "much", "clockSkewMs": 2**70, "spoolBacklogBytes": True}, None),
        ({"loadAverage": 1e18, "cpuCount": 1}, Sample(None, None, 100_000, None, None)),
    ],
)
def test_sample_keeps_the_numbers_of_a_health_and_nothing_else(health: dict[str, Any], expected: Sample | None) -> None:
    assert sample_of(health) == expected


def test_quarters_of_a_day_have_places_of_their_own_and_those_of_the_next_day_the_same() -> None:
    quarter = quarter_of(NOW)

    assert begin_of(quarter) <= NOW < begin_of(quarter + 1)
    assert len({place_of(quarter + later) for later in range(96)}) == 96
    assert place_of(quarter_of(NOW + timedelta(days=1))) == place_of(quarter)


def test_course_of_a_day_is_a_line_with_a_gap_and_the_same_in_words() -> None:
    told = _day((0, {"diskFreeBytes": 40 * GIB}), (1, {"diskFreeBytes": 20 * GIB}), (95, {"diskFreeBytes": 80 * GIB}))

    [trend] = trends_of(told, {"diskTotalBytes": 80 * GIB}, LIMITS)

    assert (trend.name, trend.text) == ("Disk free", "80 GiB last, 20 GiB to 80 GiB")
    assert (trend.path, trend.limit) == ("M0 12.0h1L1 17.5h1M95 1.0h1", 21.6)


SAID = st.dictionaries(st.sampled_from(NAMES), ANYTHING, max_size=4)


@given(st.dictionaries(st.integers(0, 95), SAID, max_size=3), SAID)
def test_course_of_any_health_stays_in_its_picture(said: dict[int, dict[str, Any]], last: dict[str, Any]) -> None:
    for trend in trends_of(_day(*sorted(said.items())), last, LIMITS):
        heights = [float(height) for height in re.findall(r" (\S+)h1", trend.path)]
        assert heights
        assert all(0 <= height <= HEIGHT for height in [*heights, trend.limit or 0])
