"""The one fake of the server tests: wall time that moves when a test says so; and the real one beside it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from apviso.server.timekeeping import Timekeeper


class Clock:
    def __init__(self) -> None:
        self.now = datetime(2026, 5, 3, 9, 15, 32, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def pass_by(self, **time: float) -> None:
        """`pass_by(minutes=5)`: five minutes later."""
        self.now += timedelta(**time)


class HostClock(Timekeeper, Clock):
    """A host's time of day and its boot time, kept as the server keeps them. `pass_by` moves both, `be_set` the time of day alone."""

    def __init__(self) -> None:
        Clock.__init__(self)
        self.booted_for = 1000.0
        Timekeeper.__init__(self, lambda: self.now, lambda: self.booted_for)

    def pass_by(self, **time: float) -> None:
        super().pass_by(**time)
        self.booted_for += timedelta(**time).total_seconds()

    def be_set(self, by: timedelta) -> None:
        self.now += by


class RealClock(Clock):
    """No fake: time passes by itself."""

    def __call__(self) -> datetime:
        return datetime.now(UTC)
