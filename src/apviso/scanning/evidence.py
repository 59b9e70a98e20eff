"""Writes what a finding shows to people: a curl command and an excerpt without any credential."""

from __future__ import annotations

import re
import shlex

MAX_EXCERPT = 2_000
_MAX_COMMAND = 4_000
_SECRET_HEADERS = re.compile(r"(?im)^(authorization|proxy-authorization|cookie|set-cookie|x-api-key)\s*:.*$")


def without_credentials(text: str) -> str:
    """The same text with the values of credential headers replaced."""
    return _SECRET_HEADERS.sub(lambda found: f"{found[1]}: [redacted]", text)


def excerpt(text: str, limit: int = MAX_EXCERPT) -> str:
    """The beginning of `text`, without credentials and without characters that a database or terminal stumbles over."""
    clean = "".join(character if character.isprintable() or character in "\n\t" else "\ufffd" for character in text)
    clean = without_credentials(clean.encode(errors="replace").decode())
    return clean if len(clean) <= limit else clean[:limit] + "\n[cut]"


def one_line(text: str, limit: int) -> str:
    """The same for a title, a parameter, an address or a message: in one line, and cut without a mark."""
    return excerpt(" ".join(text[: 2 * limit].splitlines()).replace("\t", " "), 2 * limit)[:limit]


def curl_command(method: str, url: str, body: str = "") -> str:
    """A command that repeats a request. Credentials are left to the reader's own headers."""
    parts = ["curl", "--silent", "--show-error", "--include"]
    if method != "GET":
        parts += ["--request", method]
    if body:
        parts += ["--data-raw", body]
    return shlex.join([*parts, "--", url])[:_MAX_COMMAND]
