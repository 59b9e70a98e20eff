"""The actual delays between tries."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from apviso.runner.backoff import FLOOR_SECONDS, Backoff, Patience

draws = st.floats(min_value=0, max_value=1, exclude_max=True)


@given(failures=st.integers(min_value=1, max_value=10_000), draw=draws)
def test_delay_after_any_number_of_failures_stays_between_floor_and_a_minute(failures: int, draw: float) -> None:
    delay = Backoff().delay(failures, draw)

    assert FLOOR_SECONDS <= delay < 60


def test_delay_ceiling_doubles_from_one_second_to_a_minute() -> None:
    ceilings = [Backoff().ceiling(failures) for failures in range(1, 9)]

    assert ceilings == [1, 2, 4, 8, 16, 32, 60, 60]


def test_delay_draws_use_the_whole_range_below_the_ceiling() -> None:
    delays = [Backoff().delay(4, draw) for draw in (0.0, 0.5, 0.999)]

    assert delays == [FLOOR_SECONDS, 4.0, 0.999 * 8]


@given(asked=st.floats(min_value=0, max_value=120), failures=st.integers(min_value=1, max_value=50), draw=draws)
def test_delay_with_retry_after_is_never_shorter_than_asked(asked: float, failures: int, draw: float) -> None:
    delay = Backoff().delay(failures, draw, asked)

    assert asked <= delay <= asked + 1


def test_patience_after_a_success_starts_again_at_the_first_ceiling() -> None:
    patience = Patience(Backoff(), draw=lambda: 0.999)
    before = [patience.next_delay() for _ in range(3)]

    patience.reset()

    assert before == [0.999 * ceiling for ceiling in (1, 2, 4)]
    assert patience.next_delay() == 0.999
