"""A real browser at the dashboard of a real installation. Whatever a page complains of, or asks of another host, is noted."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any

from fastapi.routing import APIRoute
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Request, Response, expect, sync_playwright

from apviso.server.dashboard.pages import ROUTERS
from tests.end_to_end.installation import Installation, wait_for

PASSWORD = "correct horse battery staple"
SET_UP = re.compile(r"http://\S+/set-up\?code=\S+")
PATIENCE_MS = 15_000
ROUTES = [route for router in ROUTERS for route in router.routes if isinstance(route, APIRoute)]
# What disturbs somebody seriously; less than that is a matter of taste.
SERIOUS = ("serious", "critical")


@contextmanager
def chromium() -> Iterator[Browser]:
    """The system's Chromium without a window."""
    where = shutil.which("chromium") or shutil.which("chromium-browser")
    assert where is not None, "Chromium is missing; install it: apt-get install chromium"
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        # Root has no sandbox; what is looked at is our own.
        browser = playwright.chromium.launch(executable_path=where, args=["--no-sandbox", "--disable-dev-shm-usage"])
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class Desk:
    """Where somebody sits: `page()` opens a page in a browser that they are signed in with."""

    browser: Browser
    installation: Installation
    cookies: list[Any] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    # The forms' addresses, as the routes name them, that were sent and not refused.
    submitted: set[str] = field(default_factory=set)

    def sign_up(self, email: str = "ada@acme.example", name: str = "Ada") -> None:
        """Become the owner by the link that the server printed, through the form."""
        log = self.installation.folder / "server.log"
        # It answers a moment before it prints.
        found = wait_for(lambda: SET_UP.search(log.read_text()), 20, "the server prints a link")
        context = self.browser.new_context()
        page = self._watched(context)
        page.goto(found[0])
        if page.get_by_label("Organization").count():
            page.get_by_label("Organization").fill("Acme")
        page.get_by_label("E-mail address").fill(email)
        page.get_by_label("Name", exact=True).fill(name)
        page.get_by_label("Password", exact=True).fill(PASSWORD)
        page.get_by_label("Password again").fill(PASSWORD)
        page.get_by_role("button", name="Create owner and sign in").click()
        page.wait_for_url(f"{self.installation.url}/")
        self.cookies = context.cookies()
        context.close()

    @contextmanager
    def page(self, path: str = "/", *, signed_in: bool = True, **context: Any) -> Iterator[Page]:
        """A page at its address. `context` are words of Playwright: `color_scheme`, `viewport`, `java_script_enabled`."""
        opened = self.browser.new_context(**context)
        if signed_in:
            opened.add_cookies(self.cookies)
        page = self._watched(opened)
        page.goto(f"{self.installation.url}{path}")
        try:
            yield page
        finally:
            opened.close()

    def _watched(self, context: BrowserContext) -> Page:
        context.set_default_timeout(PATIENCE_MS)
        page = context.new_page()
        page.on("console", self._note)
        page.on("pageerror", lambda error: self.complaints.append(f"error in a script: {error}"))
        page.on("request", self._look)
        page.on("response", self._mark)
        return page

    def _note(self, message: ConsoleMessage) -> None:
        # Refusals of the content security policy come here as well.
        if message.type in ("error", "warning"):
            self.complaints.append(f"{message.type}: {message.text}")

    def _look(self, request: Request) -> None:
        if not request.url.startswith((self.installation.url, "data:")):
            self.complaints.append(f"asked another host: {request.url}")

    def _mark(self, answer: Response) -> None:
        if answer.request.method == "POST" and answer.status < 400:
            path = answer.url.removeprefix(self.installation.url)
            self.submitted.add(next(route.path for route in ROUTES if "POST" in (route.methods or ()) and route.path_regex.match(path)))


@cache
def _axe() -> str:
    return files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")


def barriers(page: Page, *rules: str) -> list[str]:
    """What keeps people with a screen reader, with a keyboard or with weak eyes out of the page, as axe-core finds it.

    By all its rules, or by these."""
    if not page.evaluate("() => 'axe' in window"):
        page.evaluate(_axe())
    options = {"resultTypes": ["violations"], **({"runOnly": list(rules)} if rules else {})}
    found = page.evaluate("(options) => axe.run(document, options)", options)
    return [
        f"{violation['id']}: {violation['help']} at {node['target']}"
        for violation in found["violations"]
        if violation["impact"] in SERIOUS
        for node in violation["nodes"]
    ]
