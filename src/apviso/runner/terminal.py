"""Makes text that others wrote safe to print: a terminal takes control characters for commands. Cuts and interprets nothing."""

from __future__ import annotations


def printable(text: str, keep: str = "") -> str:
    """The same text with each character that is not printable written as its escape, apart from those in `keep`."""
    return "".join(sign if sign.isprintable() or sign in keep else sign.encode("unicode_escape").decode() for sign in text)
