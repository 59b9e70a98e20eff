"""Logs in to a target as a visitor would, by form or by JSON, and keeps what the target gave for it. Tells no secret."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from urllib.parse import urlencode

from pydantic import JsonValue

from apviso.runner.target_auth.entries import LoginAuth, cookie_header, header_secrets, header_value
from apviso.runner.target_auth.login_forms import Unfillable, fill, find_login_form
from apviso.runner.target_visit import OffTarget, Page, Visit
from apviso.scanning.first_look import bare, shows_password

_FORM = "application/x-www-form-urlencoded"
_PLACEHOLDER = re.compile(r"\{(username|password)\}")


class NotLoggedIn(Exception):
    """No credentials came of it. The message is one sentence for people; `is_unreachable` where the target did not answer at all."""

    def __init__(self, message: str, *, is_unreachable: bool = False) -> None:
        super().__init__(message)
        self.is_unreachable = is_unreachable


@dataclass(frozen=True)
class Obtained:
    """Headers for the guard, and everything secret in them."""

    headers: dict[str, str] = field(repr=False)
    secrets: list[str] = field(repr=False)


async def log_in(entry: LoginAuth, visit: Visit) -> Obtained:
    """Raises NotLoggedIn; OffTarget or NoAnswer as the visit does."""
    return await (_by_form(entry, visit) if entry.json_body is None else _by_json(entry, entry.json_body, visit))


async def _by_form(entry: LoginAuth, visit: Visit) -> Obtained:
    page = await visit.get(entry.login_url)
    if page.onward is not None:
        raise OffTarget(bare(page.onward))
    if page.status >= 400:
        raise NotLoggedIn(f"The login page {bare(page.url)} answers with status {page.status}.")
    try:
        form = find_login_form(page.text, page.url)
        fields = fill(form, entry.username, entry.password, entry.username_field, entry.password_field)
    except Unfillable as error:
        raise NotLoggedIn(f"The login page {bare(page.url)} cannot be used: {error}.") from error
    after = await visit.post(form.action, urlencode(fields).encode(), _FORM, referer=page.url)
    _check_accepted(after)
    if entry.logged_in_text is None and shows_password(after.body):
        raise NotLoggedIn(f"After the login the target asks for a password again, at {bare(after.url)}: it was not accepted.")
    return _obtained(visit, None)


async def _by_json(entry: LoginAuth, body: dict[str, JsonValue], visit: Visit) -> Obtained:
    content = json.dumps(_filled(body, entry.username, entry.password)).encode()
    after = await visit.post(entry.login_url, content, "application/json")
    _check_accepted(after)
    return _obtained(visit, _token(after, entry.token_field) if entry.token_field is not None else None)


def _check_accepted(after: Page) -> None:
    if after.status >= 400:
        raise NotLoggedIn(f"The target refuses the login at {bare(after.url)} (status {after.status}).")


def _filled(value: JsonValue, username: str, password: str) -> JsonValue:
    match value:
        case str():
            return _PLACEHOLDER.sub(lambda found: username if found[1] == "username" else password, value)
        case list():
            return [_filled(item, username, password) for item in value]
        case dict():
            return {name: _filled(item, username, password) for name, item in value.items()}
        case _:
            return value


def _token(page: Page, place: str) -> str:
    try:
        found = json.loads(page.body)
        for name in place.split("."):
            found = found[name]
        return header_value(found)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        # The answer may hold the token somewhere else, so nothing of it is repeated.
        raise NotLoggedIn(f"The answer to the login at {bare(page.url)} holds no token at {place}.") from None


def _obtained(visit: Visit, token: str | None) -> Obtained:
    headers = {"Authorization": f"Bearer {token}"} if token is not None else {}
    if visit.cookies:
        try:
            headers["Cookie"] = header_value(cookie_header(visit.cookies))
        except ValueError:
            raise NotLoggedIn("The target answered the login with a cookie that cannot be sent back.") from None
    if not headers:
        raise NotLoggedIn("The target answered the login with neither a cookie nor a token.")
    return Obtained(headers, [secret for value in headers.values() for secret in header_secrets(value)])
