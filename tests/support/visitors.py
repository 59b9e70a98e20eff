"""Somebody who is signed in to the dashboard, as with a browser without script: cookies are kept, forms are sent as they stand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urlencode

import httpx2
from argon2 import PasswordHasher

from apviso.protocol.wire import OrganizationId
from apviso.server.accounts import signing_in, store
from apviso.server.accounts.roles import Role
from apviso.server.accounts.signing_in import Browser
from tests.support.control_plane import Plane

PASSWORD = "correct horse battery staple"


class _Forms(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.forms: list[tuple[str, dict[str, str]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.forms.append((given.get("action", ""), {}))
        elif tag == "input" and self.forms and given.get("name") and (given.get("type") not in ("checkbox", "radio") or "checked" in given):
            self.forms[-1][1][given["name"]] = given.get("value", "")


def forms_of(page: str) -> dict[str, dict[str, str]]:
    """The forms of a page by their address, with what their inputs hold."""
    found = _Forms()
    found.feed(page)
    return dict(found.forms)


@dataclass
class Visitor:
    """A browser of somebody's own."""

    client: httpx2.AsyncClient
    cookies: dict[str, str] = field(default_factory=dict, repr=False)

    async def get(self, path: str, **more: Any) -> httpx2.Response:
        return await self._send("GET", path, **more)

    async def post(self, path: str, form: Mapping[str, str | list[str]], **more: Any) -> httpx2.Response:
        headers = {"content-type": "application/x-www-form-urlencoded", "sec-fetch-site": "same-origin", **more.pop("headers", {})}
        return await self._send("POST", path, content=urlencode(form, doseq=True), headers=headers, **more)

    async def submit(self, page: str, action: str, **fields: str | list[str]) -> httpx2.Response:
        """Fill in the form of `page` that goes to `action`, and send it."""
        shown = await self.get(page)
        assert shown.status_code == 200, shown.text
        return await self.post(action, {**forms_of(shown.text)[action], **fields})

    async def _send(self, method: str, path: str, **more: Any) -> httpx2.Response:
        cookies = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        headers = {**({"cookie": cookies} if cookies else {}), **more.pop("headers", {})}
        answer = await self.client.request(method, path, headers=headers, **more)
        for one in answer.headers.get_list("set-cookie"):
            name, _, value = one.partition(";")[0].partition("=")
            if value in ("", '""'):
                self.cookies.pop(name, None)
            else:
                self.cookies[name] = value
        # What the library would keep by itself belongs to one browser, not to all of a test.
        self.client.cookies.clear()
        return answer


@cache
def _digest() -> str:
    return PasswordHasher().hash(PASSWORD)


async def visitor(plane: Plane, organization_id: str, role: Role = Role.OWNER, email: str | None = None) -> Visitor:
    """A user of the organization with this role, signed in."""
    email = email or f"{role}@{organization_id[-12:]}.example"
    async with plane.resources.database.writing() as work:
        user = await store.add(work, OrganizationId(organization_id), email, role.capitalize(), role)
        await store.edit(work, user.organization_id, user.id, password_argon2=_digest())
        signed = await signing_in.open_session(work, plane.resources, user, Browser("127.0.0.1", "tests", "none"), "password")
    return Visitor(plane.client, {"apviso_session": signed.token.reveal()})
