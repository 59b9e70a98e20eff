from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from apviso.protocol.states import Visibility
from apviso.protocol.wire import RunnerId, ScanId
from apviso.server.scans.matching import Taker, WaitingScan, match, may_take

NOW = datetime(2026, 5, 3, 9, 15, 32, tzinfo=UTC)
HALF_A_MINUTE_AGO = NOW - timedelta(seconds=30)
EVERYWHERE = frozenset(Visibility)


def scan(number: int, **more: object) -> WaitingScan:
    values: dict[str, object] = {
        "target_visibility": Visibility.LOCALHOST,
        "requested_runner_id": None,
        "avoid_runner_id": None,
        "not_before": None,
        "created_at": NOW + timedelta(seconds=number),
    }
    return WaitingScan(id=ScanId(f"scan-{number}"), **{**values, **more})  # type: ignore[arg-type]


def taker(name: str, slots: int = 1, visibilities: frozenset[Visibility] = EVERYWHERE) -> Taker[str]:
    return Taker(RunnerId(name), visibilities, name, slots)


def matched(scans: list[WaitingScan], takers: list[Taker[str]], most: int = 10) -> list[tuple[str, str]]:
    return [(str(found.id), of) for found, of in match(scans, takers, HALF_A_MINUTE_AGO, most)]


def test_oldest_scan_goes_to_whoever_came_first() -> None:
    assert matched([scan(2), scan(1)], [taker("a"), taker("b")]) == [("scan-1", "a"), ("scan-2", "b")]


def test_runner_that_came_first_and_cannot_keeps_its_place_for_the_next_scan() -> None:
    fussy = taker("a", visibilities=frozenset({Visibility.PUBLIC}))

    found = matched([scan(1), scan(2, target_visibility=Visibility.PUBLIC)], [fussy, taker("b")])

    assert found == [("scan-1", "b"), ("scan-2", "a")]


def test_scan_that_nobody_may_have_is_in_nobodys_way() -> None:
    assert matched([scan(1, requested_runner_id=RunnerId("away")), scan(2)], [taker("a")]) == [("scan-2", "a")]


def test_claims_of_one_runner_get_no_more_than_its_slots() -> None:
    assert matched([scan(1), scan(2), scan(3)], [taker("a", 2), taker("a", 2), taker("a", 2)]) == [("scan-1", "a"), ("scan-2", "a")]


@pytest.mark.parametrize(("most", "given"), [(-1, 0), (0, 0), (1, 1), (5, 2)])
def test_no_more_are_given_than_the_license_leaves(most: int, given: int) -> None:
    assert len(matched([scan(1), scan(2)], [taker("a"), taker("b")], most)) == given


def test_takers_are_read_no_further_than_needed() -> None:
    takers = iter([taker("a"), taker("b"), taker("c")])

    match([scan(1)], takers, HALF_A_MINUTE_AGO, 10)

    assert next(takers).of == "b"


@pytest.mark.parametrize(
    ("more", "may"),
    [
        ({}, True),
        ({"requested_runner_id": RunnerId("a")}, True),
        ({"requested_runner_id": RunnerId("b")}, False),
        ({"avoid_runner_id": RunnerId("b"), "not_before": NOW}, True),
        ({"avoid_runner_id": RunnerId("a"), "not_before": NOW}, False),
        ({"avoid_runner_id": RunnerId("a")}, False),
        ({"avoid_runner_id": RunnerId("a"), "not_before": HALF_A_MINUTE_AGO}, True),
        ({"avoid_runner_id": RunnerId("a"), "not_before": NOW, "requested_runner_id": RunnerId("a")}, True),
        ({"target_visibility": Visibility.PUBLIC}, False),
    ],
)
def test_runner_may_have_a_scan_by_what_was_asked_for_and_where_it_comes_from(more: dict[str, object], may: bool) -> None:
    assert may_take(scan(1, **more), RunnerId("a"), frozenset({Visibility.LOCALHOST}), HALF_A_MINUTE_AGO) is may
