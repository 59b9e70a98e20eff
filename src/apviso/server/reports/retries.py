"""Decides when a report or its PDF that could not be made is tried again, and when it is given up. Pure."""

from __future__ import annotations

from datetime import timedelta

# A report is tried five times within three hours; its PDF, which costs more, three times within six minutes.
MOST_TRIES, MOST_PDF_TRIES = 5, 3
_FIRST, _FACTOR = timedelta(minutes=1), 5


def delay_after(failures: int) -> timedelta:
    """How long after its last failure something is left alone: 1, 5, 25, 125 minutes."""
    return _FIRST * int(_FACTOR ** (max(1, failures) - 1))


def given_up(failures: int, what: str) -> str:
    """The final word, for whoever asks. `what` is no word of a scanned site."""
    return f"It was given up after {failures} tries; the last one ended with {what}. The server's log has it."
