"""The kinds of entries as `apviso add target-auth` asks for them: fields that are shown, one that is hidden, how that is read. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class AuthType(StrEnum):
    NONE = "none"
    BEARER = "bearer"
    BASIC = "basic"
    COOKIE = "cookie"
    COOKIES = "cookies"
    API_KEY = "api_key"
    CUSTOM_HEADERS = "custom_headers"
    LOGIN = "login"
    BROWSER_STATE = "browser_state"


@dataclass(frozen=True)
class Hidden:
    """`field` is that of the entry; `is_table`: it holds names and values, one a line, with `separator` between them."""

    field: str
    words: str
    separator: str = ""

    @property
    def is_table(self) -> bool:
        return bool(self.separator)


@dataclass(frozen=True)
class Kind:
    """`shown` are fields that are no secrets, with the words to ask for them by."""

    shown: Mapping[str, str]
    hidden: Hidden | None


KINDS: Mapping[AuthType, Kind] = {
    AuthType.NONE: Kind({}, None),
    AuthType.BEARER: Kind({}, Hidden("token", "Token")),
    AuthType.BASIC: Kind({"username": "User name"}, Hidden("password", "Password")),
    AuthType.COOKIE: Kind({}, Hidden("cookie", "Cookie header (name=value; name2=value2)")),
    AuthType.COOKIES: Kind({}, Hidden("cookies", "cookie", "=")),
    AuthType.API_KEY: Kind({"header": "Name of the header"}, Hidden("key", "Key")),
    AuthType.CUSTOM_HEADERS: Kind({}, Hidden("headers", "header", ":")),
    AuthType.LOGIN: Kind({"login_url": "Login page (path or address)", "username": "User name"}, Hidden("password", "Password")),
    AuthType.BROWSER_STATE: Kind({"state_file": "File with the browser's state"}, None),
}


class UnreadableSecret(ValueError):
    """The message never quotes what was given."""


def secret_of(hidden: Hidden, text: str) -> str | dict[str, str]:
    """What the entry holds for a hidden text. Raises UnreadableSecret."""
    bare = text.removesuffix("\n").removesuffix("\r")
    if not bare.strip():
        raise UnreadableSecret("The secret is empty.")
    if not hidden.is_table:
        return bare
    pairs = [line.partition(hidden.separator) for line in bare.splitlines() if line.strip()]
    if any(not separator for _, separator, _ in pairs):
        raise UnreadableSecret(f"Each line must be a name and a value, with {hidden.separator!r} between them.")
    return {name.strip(): value.strip() for name, _, value in pairs}
