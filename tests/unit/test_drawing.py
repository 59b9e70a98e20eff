"""What the pages of runners draw, whatever a runner says of itself."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apviso.protocol.runners import StatusInterval
from apviso.protocol.states import RunnerStatus
from apviso.protocol.timers import Timers
from apviso.server.dashboard.drawing import MOST_FACTS, WIDTH, gauges_of, in_words, paths_of, rows_of, stretches_of
from apviso.server.runners.presence import PresencePolicy, limits_of
from tests.unit.known import NOW, seconds

LIMITS = limits_of(PresencePolicy(Timers(), NOW))
NUMBERS = st.none() | st.booleans() | st.floats() | st.integers() | st.just("much")
WORDS = st.text("a.\u202e", max_size=5)
ANYTHING = st.recursive(NUMBERS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS, inner, max_size=4), max_leaves=10)


def test_strip_is_one_path_for_each_status_and_words_for_who_does_not_see_it() -> None:
    bars = "-" * 48 + "o" * 24 + "x" * 12 + "o" * 12

    assert dict(paths_of(bars)) == {"online": "M48 0h24v12h-24zM84 0h12v12h-12z", "offline": "M72 8h12v4h-12z"}
    assert in_words(bars) == "Last 24 h: online 38%, offline 12%, not known 50%"


def test_stretch_is_drawn_within_the_strip_and_never_too_narrow_to_see() -> None:
    begin = NOW - seconds(1000)
    told = [
        StatusInterval(status=RunnerStatus.ONLINE, reasons=[], since=begin - seconds(50), until=NOW - seconds(500)),
        StatusInterval(status=RunnerStatus.OFFLINE, reasons=[], since=NOW - seconds(500), until=NOW - seconds(499.9)),
        StatusInterval(status=RunnerStatus.ONLINE, reasons=[], since=NOW, until=None),
    ]

    drawn = [(one.x, one.width) for one in stretches_of(told, begin, NOW)]

    assert drawn == [(0, 500), (500, 2), (WIDTH - 2, 2)]


@pytest.mark.parametrize(
    ("health", "expected"),
    [
        ({"diskFreeBytes": 20 * 1024**3, "diskTotalBytes": 80 * 1024**3}, ("Disk", 25.0, 6.2, False)),
        ({"diskFreeBytes": 1024**3}, ("Disk", 5.0, 25.0, True)),
        ({"clockSkewMs": -45_000}, ("Clock", 75.0, 50.0, True)),
        ({"spoolBacklogBytes": 0}, ("Spool", 0.0, 50.0, False)),
        ({"spoolBacklogBytes": 10**18}, ("Spool", 100.0, 50.0, True)),
    ],
)
def test_gauge_has_its_limit_drawn(health: dict[str, Any], expected: tuple[str, float, float, bool]) -> None:
    [gauge] = gauges_of(health, LIMITS)

    assert (gauge.name, gauge.value, gauge.limit, gauge.is_bad) == expected


@given(st.dictionaries(st.sampled_from(["diskFreeBytes", "diskTotalBytes", "clockSkewMs", "spoolBacklogBytes"]), NUMBERS))
def test_gauge_of_any_health_stays_on_the_page(health: dict[str, Any]) -> None:
    for gauge in gauges_of(health, LIMITS):
        assert 0 <= gauge.value <= 100
        assert 0 <= gauge.limit <= 100


@given(st.dictionaries(WORDS, ANYTHING, max_size=8))
def test_rows_of_any_facts_are_few_and_short(facts: dict[str, Any]) -> None:
    rows = rows_of(facts)

    assert len(rows) <= MOST_FACTS + 1
    assert all(len(text) < 450 for row in rows for text in row)


def test_facts_are_told_by_name() -> None:
    facts: dict[str, Any] = {
        "engine": {"version": "28.0", "limits": ["memory", "pids"]},
        "localProviderSecrets": True,
        "other": None,
        "none": [],
    }

    told = {"engine.version": "28.0", "engine.limits": "memory, pids", "localProviderSecrets": "yes", "other": "not known", "none": "none"}
    assert dict(rows_of(facts)) == told
    assert rows_of({str(number): "x" * 1000 for number in range(100)})[-1] == ("…", "more than is shown here")
