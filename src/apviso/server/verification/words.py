"""What strangers sent, as text that may stand in an answer, a log and a database: cut, on one line, without control characters. Pure."""

from __future__ import annotations

MAX_CHARACTERS = 120


def quoted(text: str) -> str:
    """In quotes. What cannot be printed, or would turn the direction of what follows, is written as its number."""
    shown = "".join(sign if sign.isprintable() else f"\\u{ord(sign):04x}" for sign in text[:MAX_CHARACTERS])
    return f'"{shown[:MAX_CHARACTERS]}{"..." if len(text) > MAX_CHARACTERS or len(shown) > MAX_CHARACTERS else ""}"'
