"""Reads the cookies of a kept browser state (Playwright's `storage_state`) and says which a browser would send.

Local storage is left aside: the guard adds headers, it runs no page."""

from __future__ import annotations

from datetime import datetime
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from apviso.runner.private_files import read_private
from apviso.runner.target_auth.entries import CookieName, CookieValue
from apviso.runner.target_auth.file import BadTargetAuth

_NEVER = -1


class KeptCookie(BaseModel):
    """`expires` is in seconds since 1970, or -1 for as long as the browser runs."""

    model_config = ConfigDict(hide_input_in_errors=True, frozen=True)

    name: CookieName
    value: CookieValue = Field(repr=False)
    domain: str
    path: str = "/"
    expires: float = _NEVER
    secure: bool = False


class _State(BaseModel):
    model_config = ConfigDict(hide_input_in_errors=True, frozen=True)

    cookies: list[KeptCookie]


_state: TypeAdapter[_State] = TypeAdapter(_State)


def read_browser_state(path: Path) -> list[KeptCookie]:
    """Raises BadTargetAuth, ExposedFile or OSError."""
    try:
        text = read_private(path)
        if text is None:
            raise BadTargetAuth(f"{path} does not exist")
        return _state.validate_json(text).cookies
    except UnicodeDecodeError:
        raise BadTargetAuth(f"{path} is no UTF-8 text") from None
    except ValidationError as error:
        first = error.errors(include_input=False, include_context=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BadTargetAuth(f"{path} is no browser state: {where or 'its content'}: {first['msg']}") from None


def fits(cookie: KeptCookie, url: str) -> bool:
    """Whether it belongs to this address, whatever its age (RFC 6265, domain, path and secure)."""
    parts = urlsplit(url)
    host, path = parts.hostname or "", parts.path or "/"
    return (
        _is_in_domain(host, cookie.domain.lower())
        and (path == cookie.path or path.startswith(cookie.path if cookie.path.endswith("/") else cookie.path + "/"))
        and (parts.scheme == "https" or not cookie.secure)
    )


def is_current(cookie: KeptCookie, now: datetime) -> bool:
    return cookie.expires == _NEVER or cookie.expires > now.timestamp()


def _is_in_domain(host: str, domain: str) -> bool:
    if not domain.startswith("."):
        return host == domain
    bare = domain[1:]
    return host == bare or (host.endswith(domain) and not _is_address(host))


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
