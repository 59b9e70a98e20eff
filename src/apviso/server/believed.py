"""What one process has read and believes for a second, unless it is told that something has changed. Knows no rule, no table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

Known = TypeVar("Known")
# Whoever changes something without a word, an operator's command or a restored backup, is heeded this much later.
BELIEVED_SECONDS = 1.0


@dataclass(frozen=True)
class Moment:
    """When the database was asked: how often all had been forgotten by then, and the seconds of a clock that nobody sets."""

    forgettings: int
    seconds: float


class Believed(Generic[Known]):
    """By name. `seconds` is a clock that nobody sets and that goes on while the machine sleeps."""

    def __init__(self, seconds: Callable[[], float], most: int = 10_000) -> None:
        self._seconds = seconds
        self._most = most
        self._known: dict[str, tuple[Known, float]] = {}
        self._forgettings = 0

    def find(self, name: str) -> Known | None:
        found = self._known.get(name)
        return found[0] if found is not None and 0 <= self._seconds() - found[1] < BELIEVED_SECONDS else None

    @property
    def moment(self) -> Moment:
        """To be taken before the database is asked, and given back with what was read: in between it may have changed."""
        return Moment(self._forgettings, self._seconds())

    def believe(self, name: str, known: Known, moment: Moment) -> None:
        """For a second from that moment on, not from now."""
        if moment.forgettings != self._forgettings:
            return
        if len(self._known) >= self._most and name not in self._known:
            self._known.clear()
        self._known[name] = known, moment.seconds

    def amend(self, name: str, before: Known, after: Known) -> None:
        """This process has changed it itself. What was forgotten or read anew meanwhile stays as it is."""
        found = self._known.get(name)
        if found is not None and found[0] is before:
            self._known[name] = after, found[1]

    def forget(self) -> None:
        """All of it: what is read again costs one look each, and changes are rare."""
        self._forgettings += 1
        self._known.clear()
