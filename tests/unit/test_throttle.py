"""Rate limits: a window of a minute for each caller, with a bound on the callers that are remembered."""

from __future__ import annotations

import pytest

from apviso.server import throttle
from apviso.server.errors import RateLimited
from apviso.server.throttle import Throttle


class Monotonic:
    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def monotonic() -> Monotonic:
    return Monotonic()


def test_allowance_counts_down_to_the_limit(monotonic: Monotonic) -> None:
    limited = Throttle(3, monotonic)

    taken = [limited.take("a") for _ in range(3)]

    assert [(one.limit, one.remaining, one.reset_seconds) for one in taken] == [(3, 2, 60), (3, 1, 60), (3, 0, 60)]


def test_allowance_that_is_spent_says_when_to_come_back(monotonic: Monotonic) -> None:
    limited = Throttle(1, monotonic)
    limited.take("a")
    monotonic.seconds += 12.5

    with pytest.raises(RateLimited) as refused:
        limited.take("a")

    assert refused.value.retry_after == 48
    assert refused.value.headers == {"x-ratelimit-limit": "1", "x-ratelimit-remaining": "0", "x-ratelimit-reset": "48"}


def test_allowance_is_full_again_after_a_minute_even_if_it_was_overdrawn(monotonic: Monotonic) -> None:
    limited = Throttle(1, monotonic)
    limited.take("a")
    with pytest.raises(RateLimited):
        limited.take("a")
    monotonic.seconds += 60

    assert limited.take("a").remaining == 0


def test_allowance_of_one_caller_is_not_another_ones(monotonic: Monotonic) -> None:
    limited = Throttle(1, monotonic)
    limited.take("a")

    assert limited.take("b").remaining == 0


def test_callers_beyond_the_bound_are_forgotten_longest_unseen_first(monotonic: Monotonic) -> None:
    limited = Throttle(1, monotonic)
    for number in range(throttle.MAX_CALLERS + 1):
        limited.take(str(number))

    forgotten = limited.take("0")
    with pytest.raises(RateLimited):
        limited.take(str(throttle.MAX_CALLERS))

    assert forgotten.remaining == 0
