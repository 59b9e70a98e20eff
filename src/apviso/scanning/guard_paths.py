"""How servers may read a path: the spellings in which an excluded one is looked for. Pure; runs inside the guard's process, too."""

from __future__ import annotations

import posixpath
from urllib.parse import unquote

MOST_DECODINGS = 8


def spellings(path: str) -> tuple[str, ...]:
    """A path with its query as it is written, decoded again and again until nothing is left to decode, and each of these resolved.

    Raises ValueError where there is no end to it."""
    found = [path]
    while len(found) <= MOST_DECODINGS and (read := unquote(found[-1])) != found[-1]:
        found.append(read)
    if len(found) > MOST_DECODINGS:
        raise ValueError("encoded too many times")
    return (*found, *(resolved(text) for text in found))


def resolved(path: str) -> str:
    """A path as servers read its dots, doubled slashes and backslashes; the final slash stays."""
    bare, mark, query = path.partition("?")
    straight = posixpath.normpath("/" + bare.replace("\\", "/").lstrip("/"))
    return straight + ("/" if bare.endswith("/") and straight != "/" else "") + mark + query
