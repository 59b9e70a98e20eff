"""What the timed loop does now and then."""

from __future__ import annotations

from datetime import timedelta

from apviso.server.housekeeping import Period
from tests.unit.known import NOW, seconds


def test_period_is_over_at_once_and_again_after_its_length() -> None:
    period = Period(timedelta(seconds=60))

    assert [period.is_over(NOW + seconds(after)) for after in (0, 1, 59, 60, 61, 121)] == [True, False, False, True, False, True]


def test_period_that_has_begun_is_over_for_the_first_time_after_its_length() -> None:
    period = Period(timedelta(seconds=60), since=NOW)

    assert [period.is_over(NOW + seconds(after)) for after in (0, 59, 60)] == [False, False, True]


def test_clock_that_was_set_back_keeps_nothing_from_being_done() -> None:
    period = Period(timedelta(seconds=60), since=NOW)

    assert period.is_over(NOW - seconds(3600))
    assert not period.is_over(NOW - seconds(3590))
