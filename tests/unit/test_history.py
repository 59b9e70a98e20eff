"""Uptime and gaps from the intervals of a runner."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import JsonValue

from apviso.protocol.access import AuditEvent
from apviso.protocol.runners import StatusInterval
from apviso.protocol.states import RunnerStatus
from apviso.server.runners.history import BAR, BARS, admin_change, bars_of, first_bar, open_gap, uptime_ratio
from tests.unit.known import NOW, seconds

ONLINE, DEGRADED, OFFLINE, REVOKED = RunnerStatus.ONLINE, RunnerStatus.DEGRADED, RunnerStatus.OFFLINE, RunnerStatus.REVOKED


def stretches(*lengths: tuple[RunnerStatus, float]) -> list[StatusInterval]:
    """Intervals that follow each other and end now; the last one lasts."""
    begin = NOW - seconds(sum(length for _, length in lengths))
    made: list[StatusInterval] = []
    for number, (status, length) in enumerate(lengths):
        end = None if number == len(lengths) - 1 else begin + seconds(length)
        made.append(StatusInterval(status=status, reasons=[], since=begin, until=end))
        begin += seconds(length)
    return made


@pytest.mark.parametrize(
    ("intervals", "since", "expected"),
    [
        (stretches((ONLINE, 100)), 1000, 1.0),
        (stretches((OFFLINE, 100)), 1000, 0.0),
        (stretches((ONLINE, 60), (OFFLINE, 20), (DEGRADED, 20)), 1000, 0.8),
        (stretches((OFFLINE, 900), (ONLINE, 100)), 200, 0.5),
        (stretches((ONLINE, 50), (REVOKED, 50)), 1000, 0.5),
        (stretches((ONLINE, 0)), 1000, None),
        ([], 1000, None),
        (stretches((ONLINE, 100)), 0, None),
    ],
)
def test_uptime_is_the_share_of_the_asked_time_in_contact(intervals: list[StatusInterval], since: float, expected: float | None) -> None:
    assert uptime_ratio(intervals, NOW - seconds(since), NOW) == expected


@given(st.lists(st.tuples(st.sampled_from(RunnerStatus), st.floats(0, 10_000)), max_size=8), st.floats(0, 20_000))
def test_uptime_of_any_history_is_between_nothing_and_all(lengths: list[tuple[RunnerStatus, float]], since: float) -> None:
    ratio = uptime_ratio(stretches(*lengths), NOW - seconds(since), NOW)

    assert ratio is None or 0 <= ratio <= 1


@pytest.mark.parametrize(("age", "expected"), [(35, None), (35.5, 35.5), (1000, 1000.0)])
def test_gap_lasts_once_the_heartbeat_is_late(age: float, expected: float | None) -> None:
    gap = open_gap(NOW - seconds(age), 35, NOW)

    assert (gap.seconds if gap else None) == expected


def test_gap_of_a_runner_that_never_reported_is_none() -> None:
    assert open_gap(None, 35, NOW) is None


@pytest.mark.parametrize(
    ("action", "details", "note", "until"),
    [
        ("runner.paused", {"admin_state": "paused", "admin_note": "disk", "admin_until": "2026-05-03 09:15:42+00:00"}, "disk", seconds(10)),
        ("runner.draining", {"admin_state": "draining", "drain_deadline": "2026-05-03 09:16:32.5+00:00"}, None, seconds(60.5)),
        ("runner.quarantined", {"reason": "It failed.", "until": "2026-05-03T09:30:32Z", "number": 1}, "It failed.", seconds(900)),
        ("runner.resumed", {"admin_state": "enabled"}, None, None),
    ],
)
def test_change_of_what_is_wanted_is_read_from_the_trail(
    action: str, details: dict[str, JsonValue], note: str | None, until: timedelta | None
) -> None:
    event = AuditEvent(
        id="1", at=NOW, actor="a1b2", action=action, subject_type="runner", subject_id="runner-1", details=details, request_id=None
    )

    change = admin_change(event)

    assert (change.at, change.actor, change.action, change.note) == (NOW, "a1b2", action, note)
    assert change.until == (None if until is None else NOW + until)


def bars(*lengths: tuple[RunnerStatus, float]) -> str:
    return bars_of([(one.status, one.since, one.until) for one in stretches(*lengths)], first_bar(NOW), NOW)


def test_strip_of_a_day_ends_with_the_quarter_of_an_hour_that_lasts() -> None:
    begin = first_bar(NOW)

    assert begin.timestamp() % BAR.total_seconds() == 0
    assert begin + (BARS - 1) * BAR <= NOW < begin + BARS * BAR


def test_bar_shows_the_worst_of_its_time_however_short() -> None:
    whole_day = BARS * BAR.total_seconds()
    told = bars((ONLINE, whole_day), (OFFLINE, 1), (ONLINE, 4 * 3600), (DEGRADED, 1800), (ONLINE, 3600))

    assert len(told) == BARS
    assert told.count("x") == 1
    assert 2 <= told.count("d") <= 3
    assert set(told) == {"o", "x", "d"}


def test_bar_before_the_first_report_is_not_known() -> None:
    assert set(bars((ONLINE, 0))[:-1]) == {"-"}
    assert bars((ONLINE, 0))[-1] == "o"
    assert bars_of([], first_bar(NOW), NOW) == "-" * BARS
    assert bars((ONLINE, 7200), (REVOKED, 3600))[-1] == "r"


@given(st.lists(st.tuples(st.sampled_from(list(RunnerStatus)), st.floats(0, 200_000)), max_size=12))
def test_strip_has_every_bar_whatever_the_history_is(lengths: list[tuple[RunnerStatus, float]]) -> None:
    assert len(bars(*lengths)) == BARS
