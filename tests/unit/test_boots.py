"""Boots that take turns are machines with one identity; a restart is none."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from apviso.server.runners.boots import MOST_BOOTS, duplicate_of, duplicate_seen_at, next_boots
from apviso.server.runners.facts import RunnerFacts
from tests.unit.known import NOW, runner, seconds

REMEMBERED = timedelta(seconds=300)


def heard(*boots: str, every: float = 15) -> RunnerFacts:
    """A runner after heartbeats of these boots, each from an address of its own, the last one now."""
    known = runner(boot_id=None)
    for place, boot in enumerate(boots):
        at = NOW - seconds(every * (len(boots) - 1 - place))
        known = _after(known, boot, at)
    return known


def _after(known: RunnerFacts, boot: str, at: datetime) -> RunnerFacts:
    previous = known.boot_id if boot != known.boot_id else known.previous_boot_id
    seen = duplicate_seen_at(known, boot, at, REMEMBERED)
    boots = next_boots(known, boot, f"address-of-{boot}", at)
    return known.changed({"boot_id": boot, "previous_boot_id": previous, "duplicate_seen_at": seen, "boots": boots})


@pytest.mark.parametrize(
    ("boots", "is_duplicate"),
    [("a", False), ("aaab", False), ("abbcd", False), ("aba", True), ("abca", True), ("abcdefgha", True), ("abcdeffffb", True)],
)
def test_identity_is_shared_when_a_boot_speaks_again_that_others_had_replaced(boots: str, is_duplicate: bool) -> None:
    assert (heard(*boots).duplicate_seen_at is not None) is is_duplicate


def test_identity_known_from_before_addresses_were_kept_is_shared_when_the_boot_before_speaks_again() -> None:
    known = runner(boot_id="b", previous_boot_id="a")

    assert duplicate_seen_at(known, "a", NOW, REMEMBERED) == NOW


def test_identity_that_one_machine_alone_uses_again_is_told_as_shared_for_five_minutes() -> None:
    known = heard("a", "b", "a")

    left = [duplicate_seen_at(known, "a", NOW + seconds(later), REMEMBERED) for later in (299, 300)]

    assert left == [NOW, None]


@pytest.mark.parametrize(("boots", "shown"), [("aba", "ab"), ("abcacb", "bca"), ("abab", "ba")])
def test_shared_identity_shows_who_took_turns_with_the_addresses(boots: str, shown: str) -> None:
    seen = duplicate_of(heard(*boots))

    assert seen is not None
    assert [(boot.boot_id, boot.address) for boot in seen.boots] == [(boot, f"address-of-{boot}") for boot in shown]


def test_shared_identity_does_not_show_earlier_restarts() -> None:
    seen = duplicate_of(heard("x", "y", "a", "b", "a", every=3600))

    assert seen is not None
    assert [boot.boot_id for boot in seen.boots] == ["a", "b"]


def test_boots_beyond_the_most_are_forgotten_the_oldest_first() -> None:
    known = heard(*(f"boot-{number}" for number in range(20)))

    assert [boot.boot_id for boot in known.boots] == [f"boot-{number}" for number in range(19, 19 - MOST_BOOTS, -1)]


def test_boot_that_goes_on_to_speak_changes_nothing() -> None:
    known = heard("a", "b")

    assert next_boots(known, "b", "another address", NOW + seconds(15)) is known.boots


def test_runner_that_was_never_heard_twice_is_no_duplicate() -> None:
    assert duplicate_of(heard("a")) is None
