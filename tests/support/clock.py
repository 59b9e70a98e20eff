"""The one fake of the server tests: wall time that moves when a test says so; and the real one beside it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta


class Clock:
    def __init__(self) -> None:
        self.now = datetime(2026, 5, 3, 9, 15, 32, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def pass_by(self, **time: float) -> None:
        """`pass_by(minutes=5)`: five minutes later."""
        self.now += timedelta(**time)


class RealClock(Clock):
    """No fake: time passes by itself."""

    def __call__(self) -> datetime:
        return datetime.now(UTC)
