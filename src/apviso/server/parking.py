"""Counts the requests that are held open (long polls, streams), so that their number has a bound."""

from __future__ import annotations

from apviso.server.errors import Overloaded
from apviso.server.metrics import PARKED


class Parking:
    def __init__(self, places: int) -> None:
        self.places = places
        self.taken = 0

    def enter(self) -> None:
        """Take a place; raises Overloaded when there is none. Whoever entered must leave."""
        if self.taken >= self.places:
            raise Overloaded(retry_after=5)
        self.taken += 1
        PARKED.inc()

    def leave(self) -> None:
        self.taken -= 1
        PARKED.dec()
