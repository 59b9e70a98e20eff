"""Finds the login form of a page and fills it in. Pure; runs no script."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from html.parser import HTMLParser
from urllib.parse import urljoin

_TEXTUAL = frozenset({"text", "email", "tel", "username", "search"})
_NOT_SENT = frozenset({"reset", "button", "image", "file"})
MAX_FIELDS = 500


class Unfillable(Exception):
    """The page has no login form that can be filled in; the message says why, in words for the middle of a sentence."""


@dataclass
class Form:
    """`fields` are kind, name and value of what a browser would send."""

    action: str
    method: str
    encoding: str
    fields: list[tuple[str, str, str]] = field(default_factory=list)

    def names(self, kinds: Iterable[str]) -> list[str]:
        return [name for kind, name, _ in self.fields if kind in kinds]


class _Forms(HTMLParser):
    def __init__(self, url: str) -> None:
        super().__init__()
        self._url = url
        self._select: str | None = None
        self._open: Form | None = None
        self.found: list[Form] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        told = {name: value or "" for name, value in attrs}
        if tag == "form":
            self._open = Form(
                _action(self._url, told.get("action", "").strip()), told.get("method", "get").lower(), told.get("enctype", "").lower()
            )
            self.found.append(self._open)
        elif self._open is not None and len(self._open.fields) < MAX_FIELDS and "disabled" not in told:
            self._take(self._open, tag, told)

    def _take(self, form: Form, tag: str, told: dict[str, str]) -> None:
        name, value = told.get("name", ""), told.get("value", "")
        match tag:
            case "input" | "button" if name:
                kind = told.get("type", "text" if tag == "input" else "submit").lower()
                self._take_input(form, kind, name, "checked" in told, value)
            case "select":
                self._select = name or None
            case "option" if self._select is not None:
                # The first one until another is selected.
                known = [one for one in form.fields if one[1] == self._select]
                if not known or "selected" in told:
                    form.fields[:] = [one for one in form.fields if one[1] != self._select] + [("select", self._select, value)]
            case "textarea" if name:
                form.fields.append(("textarea", name, ""))
            case _:
                pass

    def _take_input(self, form: Form, kind: str, name: str, is_checked: bool, value: str) -> None:
        if kind in ("checkbox", "radio"):
            if is_checked:
                form.fields.append((kind, name, value or "on"))
        elif kind == "submit":
            # A browser sends the one button that was pressed.
            if "submit" not in (one[0] for one in form.fields):
                form.fields.append((kind, name, value))
        elif kind not in _NOT_SENT:
            form.fields.append((kind, name, value))

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._open = None
        elif tag == "select":
            self._select = None


def _action(url: str, written: str) -> str:
    """One that makes no sense stays as it is: nothing is sent there, and the page may have other forms."""
    try:
        return urljoin(url, written)
    except ValueError:
        return written


def find_login_form(page: str, url: str) -> Form:
    """The form with a password field; of several the one that asks for one password only. Raises Unfillable."""
    parser = _Forms(url)
    # The parser gives up on marked sections that no browser minds; what it has read until then counts.
    with contextlib.suppress(AssertionError):
        parser.feed(page)
    with_password = [form for form in parser.found if form.names(["password"])]
    if not with_password:
        raise Unfillable("it has no form with a password field; a login drawn by script needs browser_state")
    form = next((form for form in with_password if len(form.names(["password"])) == 1), with_password[0])
    if form.method != "post":
        raise Unfillable("its form would send the password in an address (method GET)")
    if form.encoding not in ("", "application/x-www-form-urlencoded"):
        raise Unfillable(f"its form is sent as {form.encoding[:60]}, which is not supported")
    return form


def fill(form: Form, username: str, password: str, username_field: str | None, password_field: str | None) -> list[tuple[str, str]]:
    """Names and values to send: the form's own, with the two filled in. Raises Unfillable."""
    password_name = password_field or form.names(["password"])[0]
    username_name = username_field or _username_name(form, password_name)
    answers = {username_name: username, password_name: password}
    missing = [name for name in answers if name not in {known for _, known, _ in form.fields}]
    if missing:
        raise Unfillable(f"its form has no field named {missing[0]}")
    return [(name, answers.get(name, value)) for _, name, value in form.fields]


def _username_name(form: Form, password_name: str) -> str:
    """The text field before the password, as browsers take it."""
    place = next((number for number, (_, name, _) in enumerate(form.fields) if name == password_name), len(form.fields))
    before = [name for kind, name, _ in form.fields[:place] if kind in _TEXTUAL]
    if not before:
        raise Unfillable("it is not clear which field is for the user name; name it as username_field")
    return before[-1]
