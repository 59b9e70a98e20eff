"""Claims that are held open in this process, by organization and in the order in which they came. Knows no rule and no database.

Whoever may give a job to one of them takes it in hand first; until it is given something, nothing else ends its wait."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from typing import Generic, TypeVar

from apviso.protocol.wire import OrganizationId, RunnerId
from apviso.server.metrics import CLAIMS_WAITING

Asked = TypeVar("Asked")
Given = TypeVar("Given")
Seen = TypeVar("Seen")
# Lines that nobody stands in are kept for what they know, up to this many.
MAX_IDLE_LINES = 10_000
# Whoever has a claim in hand is done with it by then: longer than any transaction may take.
IN_HAND_SECONDS = 60.0


class Outcome(Enum):
    """How a wait ends without anything given."""

    TIME_IS_UP = "time_is_up"
    # It was asked for whether there is something right now, and there is not.
    NOTHING_NOW = "nothing_now"
    # Something about the runner has changed, or may have.
    LOOK_AGAIN = "look_again"
    SERVER_ENDS = "server_ends"


@dataclass(eq=False)
class Place(Generic[Asked, Given]):
    """One claim in its line."""

    runner_id: RunnerId
    asked: Asked
    _given: asyncio.Future[Given | Outcome]
    wants_word: bool = False
    holds_jobs: bool = False
    is_in_hand: bool = False

    @property
    def is_free(self) -> bool:
        return not self.is_in_hand and not self._given.done()

    def give(self, what: Given | Outcome) -> None:
        """End the wait. What comes second is dropped."""
        self.is_in_hand = False
        if not self._given.done():
            self._given.set_result(what)

    async def wait(self, seconds: float) -> Given | Outcome:
        """What is given within `seconds`, or how the wait ended; where word is wanted, at least until it is there."""
        await asyncio.wait([self._given], timeout=max(seconds, IN_HAND_SECONDS) if self.wants_word else seconds)
        if self.is_in_hand:
            await asyncio.wait([self._given], timeout=IN_HAND_SECONDS)
        return self._given.result() if self._given.done() else Outcome.TIME_IS_UP


@dataclass(eq=False)
class Line(Generic[Asked, Given, Seen]):
    """The claims of one organization, and what was last seen of what they wait for."""

    places: dict[Place[Asked, Given], None] = field(default_factory=dict)
    seen: Seen | None = None
    # The number of the hint by which `seen` became out of date.
    stirred_by: int = 0


class Waiting(Generic[Asked, Given, Seen]):
    """Every line. Hints stir a line; whoever serves them takes the stirred ones in turn, so that none is served twice before another."""

    def __init__(self) -> None:
        self._lines: OrderedDict[OrganizationId, Line[Asked, Given, Seen]] = OrderedDict()
        self._of_runner: dict[RunnerId, set[Place[Asked, Given]]] = {}
        self._stirred: OrderedDict[OrganizationId, None] = OrderedDict()
        self._served: set[OrganizationId] = set()
        self._bell = asyncio.Event()
        self._hints = 0
        self._is_closed = False

    @property
    def moment(self) -> int:
        """To be taken before one looks, and given back with what was seen: a hint that comes in between makes it out of date."""
        return self._hints

    def line(self, organization_id: OrganizationId) -> Line[Asked, Given, Seen]:
        line = self._lines.get(organization_id)
        if line is None:
            line = self._lines[organization_id] = Line(stirred_by=self._hints)
            self._drop_idle()
        self._lines.move_to_end(organization_id)
        return line

    def _drop_idle(self) -> None:
        if len(self._lines) <= MAX_IDLE_LINES:
            return
        for organization_id in [known for known, line in self._lines.items() if not line.places][: MAX_IDLE_LINES // 10]:
            del self._lines[organization_id]

    @contextmanager
    def place(
        self, organization_id: OrganizationId, runner_id: RunnerId, asked: Asked, *, wants_word: bool, holds_jobs: bool
    ) -> Iterator[Place[Asked, Given]]:
        """Stand in the line. With `wants_word`, somebody looks at once whether there is something, and says so.

        With `holds_jobs`, it looks again also where hints may have been missed: one of its jobs may have to be stopped.
        """
        place: Place[Asked, Given] = Place(runner_id, asked, asyncio.get_running_loop().create_future(), wants_word, holds_jobs)
        line = self.line(organization_id)
        line.places[place] = None
        self._of_runner.setdefault(runner_id, set()).add(place)
        CLAIMS_WAITING.inc()
        if self._is_closed:
            place.give(Outcome.SERVER_ENDS)
        elif wants_word:
            self._stir(organization_id)
        try:
            yield place
        finally:
            CLAIMS_WAITING.dec()
            del line.places[place]
            of_runner = self._of_runner[runner_id]
            of_runner.discard(place)
            if not of_runner:
                del self._of_runner[runner_id]

    def see(self, organization_id: OrganizationId, seen: Seen, moment: int) -> None:
        """Keep what was looked at, unless a hint has come since `moment`."""
        line = self.line(organization_id)
        if line.stirred_by <= moment:
            line.seen = seen

    def hint(self, organization_id: OrganizationId) -> None:
        """Something may be there now: what was seen is out of date, and the line is looked at where anybody stands in it."""
        self._hints += 1
        line = self._lines.get(organization_id)
        if line is not None:
            line.seen, line.stirred_by = None, self._hints
            if line.places:
                self._stir(organization_id)

    def hint_everyone(self) -> None:
        """Hints may have been missed."""
        for organization_id, line in list(self._lines.items()):
            self.hint(organization_id)
            for place in line.places:
                if place.holds_jobs and place.is_free:
                    place.give(Outcome.LOOK_AGAIN)

    def runner_changed(self, runner_id: RunnerId) -> None:
        """Its claims look again, except one that is being given something."""
        for place in self._of_runner.get(runner_id, ()):
            if place.is_free:
                place.give(Outcome.LOOK_AGAIN)

    def waiting_in(self) -> Iterable[tuple[OrganizationId, Line[Asked, Given, Seen]]]:
        """The lines in which somebody stands."""
        return [(organization_id, line) for organization_id, line in self._lines.items() if line.places]

    def _stir(self, organization_id: OrganizationId) -> None:
        self._stirred[organization_id] = None
        self._bell.set()

    async def next_stirred(self) -> OrganizationId | None:
        """The line that was stirred longest ago and is not being served. Whoever takes it says when it is `served`. None at the end."""
        while not self._is_closed:
            organization_id = next((stirred for stirred in self._stirred if stirred not in self._served), None)
            if organization_id is not None:
                del self._stirred[organization_id]
                self._served.add(organization_id)
                return organization_id
            self._bell.clear()
            await self._bell.wait()
        return None

    def served(self, organization_id: OrganizationId, *, again: bool) -> None:
        """The look is over; `again` when there is more to give."""
        self._served.discard(organization_id)
        if again:
            self._stir(organization_id)
        self._bell.set()

    def close(self) -> None:
        """The process is about to end: everyone who waits answers now, and nobody waits again."""
        self._is_closed = True
        self._bell.set()
        for line in self._lines.values():
            for place in line.places:
                if place.is_free:
                    place.give(Outcome.SERVER_ENDS)
