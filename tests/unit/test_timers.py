"""Settings under which two attempts could touch a target together are not taken."""

from __future__ import annotations

from datetime import timedelta

import pytest
from pydantic import ValidationError

from apviso.protocol.timers import Timers


def _seconds(**timers: int) -> Timers:
    return Timers(**{name: timedelta(seconds=seconds) for name, seconds in timers.items()})


def test_timers_by_default_leave_a_margin() -> None:
    assert Timers().stale_end_after - Timers().silent_after == timedelta(seconds=30)


def test_timers_at_the_bound_are_taken() -> None:
    assert _seconds(stale_end_after=270).silent_after == timedelta(seconds=270)


@pytest.mark.parametrize(
    "wrong",
    [
        {"stale_end_after": 269},
        {"kill_within": 61},
        {"lease": 30},
        {"lease": 300, "stale_end_after": 300},
        {"self_stop_after": 271, "lease": 200},
    ],
    ids=str,
)
def test_timers_that_let_attempts_overlap_or_leases_lapse_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValidationError):
        _seconds(**wrong)
