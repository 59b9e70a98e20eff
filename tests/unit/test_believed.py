from __future__ import annotations

import pytest

from apviso.server.believed import BELIEVED_SECONDS, Believed


class Seconds:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def seconds() -> Seconds:
    return Seconds()


@pytest.fixture
def believed(seconds: Seconds) -> Believed[str]:
    return Believed(seconds, most=3)


def test_what_was_read_is_believed_for_its_time_from_the_question_on(believed: Believed[str], seconds: Seconds) -> None:
    moment = believed.moment
    seconds.now += BELIEVED_SECONDS / 2
    believed.believe("a", "read", moment)

    during = believed.find("a")
    seconds.now += BELIEVED_SECONDS / 2

    assert (during, believed.find("a")) == ("read", None)


def test_what_was_forgotten_while_it_was_read_is_not_believed(believed: Believed[str]) -> None:
    moment = believed.moment
    believed.forget()

    believed.believe("a", "read before", moment)

    assert believed.find("a") is None


def test_forgetting_forgets_all(believed: Believed[str]) -> None:
    for name in "ab":
        believed.believe(name, name, believed.moment)

    believed.forget()

    assert [believed.find(name) for name in "ab"] == [None, None]


def test_what_is_amended_is_believed_no_longer_than_before(believed: Believed[str], seconds: Seconds) -> None:
    believed.believe("a", "read", believed.moment)
    seconds.now += BELIEVED_SECONDS / 2

    believed.amend("a", "read", "used")
    during = believed.find("a")
    seconds.now += BELIEVED_SECONDS / 2

    assert (during, believed.find("a")) == ("used", None)


def test_amending_brings_nothing_back_that_was_forgotten_or_read_anew(believed: Believed[str]) -> None:
    believed.believe("a", "allowed", believed.moment)
    believed.forget()
    believed.amend("a", "allowed", "allowed and used")
    forgotten = believed.find("a")

    believed.believe("a", "forbidden", believed.moment)
    believed.amend("a", "allowed", "allowed and used")

    assert (forgotten, believed.find("a")) == (None, "forbidden")


def test_no_more_is_kept_than_the_bound(believed: Believed[str]) -> None:
    for number in range(10):
        believed.believe(str(number), "read", believed.moment)

    assert [number for number in range(10) if believed.find(str(number))] == [9]
