from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from apviso.protocol.wire import OrganizationId, RunnerId
from apviso.server import waiting as module
from apviso.server.waiting import Outcome, Place, Waiting

ACME, OTHER = OrganizationId("acme"), OrganizationId("other")
ONE, TWO = RunnerId("one"), RunnerId("two")


class Room(Waiting[str, str, str]):
    """Whoever stands in a line stays there."""

    def __init__(self, stack: ExitStack) -> None:
        super().__init__()
        self._stack = stack

    def stand(
        self, organization: OrganizationId = ACME, runner: RunnerId = ONE, *, word: bool = False, holds: bool = False
    ) -> Place[str, str]:
        return self._stack.enter_context(self.place(organization, runner, "claim", wants_word=word, holds_jobs=holds))


@pytest.fixture
def room() -> Iterator[Room]:
    with ExitStack() as stack:
        yield Room(stack)


async def test_wait_ends_with_what_is_given(room: Room) -> None:
    place = room.stand()

    asyncio.get_running_loop().call_soon(place.give, "job")

    assert await place.wait(10) == "job"


async def test_wait_ends_when_its_time_is_up(room: Room) -> None:
    assert await room.stand().wait(0.01) is Outcome.TIME_IS_UP


async def test_wait_for_word_lasts_until_the_word_is_there(room: Room) -> None:
    place = room.stand(word=True)

    asyncio.get_running_loop().call_later(0.05, place.give, Outcome.NOTHING_NOW)

    assert await place.wait(0) is Outcome.NOTHING_NOW


async def test_what_is_in_hand_outlasts_the_time_and_a_change_of_the_runner(room: Room) -> None:
    place = room.stand()
    place.is_in_hand = True
    asyncio.get_running_loop().call_later(0.05, place.give, "job")

    room.runner_changed(ONE)

    assert await place.wait(0) == "job"


async def test_change_of_a_runner_makes_its_claims_look_again_and_no_others(room: Room) -> None:
    first, second = room.stand(), room.stand(runner=TWO)

    room.runner_changed(ONE)

    assert (await first.wait(1), await second.wait(0)) == (Outcome.LOOK_AGAIN, Outcome.TIME_IS_UP)


async def test_missed_hints_make_those_look_again_that_hold_jobs(room: Room) -> None:
    idle, busy = room.stand(), room.stand(runner=TWO, holds=True)

    room.hint_everyone()

    assert (await idle.wait(0), await busy.wait(0)) == (Outcome.TIME_IS_UP, Outcome.LOOK_AGAIN)
    assert await room.next_stirred() == ACME


async def test_hint_stirs_a_line_in_which_somebody_stands(room: Room) -> None:
    room.stand(OTHER)

    room.hint(ACME)
    room.hint(OTHER)

    assert await room.next_stirred() == OTHER


async def test_lines_are_served_in_turn_and_none_by_two_at_once(room: Room) -> None:
    for organization in (ACME, OTHER):
        room.stand(organization, word=True)
    first = await room.next_stirred()
    room.hint(ACME)

    second = await room.next_stirred()
    room.served(ACME, again=False)

    assert (first, second, await room.next_stirred()) == (ACME, OTHER, ACME)


async def test_line_that_has_more_is_served_again_after_the_others(room: Room) -> None:
    for organization in (ACME, OTHER):
        room.stand(organization, word=True)

    first = await room.next_stirred()
    room.served(ACME, again=True)

    assert [first, await room.next_stirred(), await room.next_stirred()] == [ACME, OTHER, ACME]


async def test_what_was_seen_before_a_hint_is_not_kept(room: Room) -> None:
    moment = room.moment
    room.line(ACME)
    room.hint(ACME)

    room.see(ACME, "old", moment)
    old = room.line(ACME).seen
    room.see(ACME, "new", room.moment)

    assert (old, room.line(ACME).seen) == (None, "new")


async def test_lines_without_anybody_in_them_are_bounded(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_IDLE_LINES", 20)
    room.stand()

    for number in range(100):
        room.see(OrganizationId(str(number)), "seen", room.moment)

    assert [known for known, _ in room.waiting_in()] == [ACME]
    assert room.line(OrganizationId("50")).seen is None
    assert room.line(OrganizationId("99")).seen == "seen"


async def test_end_of_the_server_ends_every_wait_and_lets_nobody_wait_again(room: Room) -> None:
    before = room.stand()

    room.close()

    assert await before.wait(10) is Outcome.SERVER_ENDS
    assert await room.stand().wait(10) is Outcome.SERVER_ENDS
    assert await room.next_stirred() is None


async def test_place_that_was_left_is_in_no_line(room: Room) -> None:
    with room.place(ACME, ONE, "claim", wants_word=False, holds_jobs=False):
        pass

    room.runner_changed(ONE)

    assert list(room.waiting_in()) == []
