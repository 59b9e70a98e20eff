"""An application on loopback that has to be logged in to: a form with a hidden token, a JSON login, pages for visitors who are known."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

USERNAME, PASSWORD = "ada", "canary-Pass word/&+ü"
SESSION, BEARER = "canary-session-of-ada", "canary-token-of-ada"
LOGIN_PAGE = """<html><form action="/search"><input name="q"></form>
<form action="{action}" method="{method}">
 <input type="hidden" name="csrf" value="c&amp;s r=f"><input name="email" type="email"> <input type="password" name="pw">
 <input type="checkbox" name="remember" checked><input type="checkbox" name="spam">
 <select name="site"><option value="1">One<option value="2" selected>Two</select>
 <button type="submit" name="go" value="in">Log in</button><button type="submit" name="go" value="other">Other</button>
</form></html>"""
SENT_BY_A_BROWSER = {"csrf": "c&s r=f", "email": USERNAME, "pw": PASSWORD, "remember": "on", "site": "2", "go": "in"}


@dataclass
class LoginApplication:
    """`action` and `method` are of its form; after `lasts_for` pages every session is over."""

    port: int = 0
    action: str = "/session"
    method: str = "post"
    lasts_for: int = 1_000_000
    pages: int = 0
    asked: list[str] = field(default_factory=list)
    posted: list[dict[str, str]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"


class _Handler(BaseHTTPRequestHandler):
    application: LoginApplication
    timeout = 10

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        self.application.asked.append(f"GET {path}")
        if path.startswith("/page"):
            self.application.pages += 1
        if path == "/sign-in":
            page = LOGIN_PAGE.format(action=self.application.action, method=self.application.method)
            self._answer(200, page, {"Set-Cookie": "before=login; Path=/; HttpOnly"})
        elif path == "/public":
            self._answer(200, "Signed in as ada &amp; co, says everybody")
        elif self._is_known():
            self._answer(200, f"Signed in as ada &amp; co, by {self.headers.get('Cookie')} {self.headers.get('Authorization')}")
        else:
            self._answer(302, "", {"Location": "/sign-in"})

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_POST(self) -> None:
        self.application.asked.append(f"POST {self.path}")
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        if self.path == "/api/session":
            told = json.loads(body)
            accepted = told == {"user": {"name": USERNAME}, "secret": PASSWORD}
            self._answer(200 if accepted else 401, json.dumps({"data": {"token": BEARER}} if accepted else {}))
        elif "before=login" not in self.headers.get("Cookie", "") or self.headers.get("Origin") != self.application.url[:-1]:
            self._answer(403, "forged")
        else:
            self.application.posted.append({name: values[-1] for name, values in parse_qs(body).items()})
            accepted = self.application.posted[-1] == SENT_BY_A_BROWSER
            cookies = {"Set-Cookie": f"session={SESSION}; Path=/"} if accepted else {}
            self._answer(302, "", {"Location": "/home", **cookies})

    def _is_known(self) -> bool:
        cookies = SimpleCookie(self.headers.get("Cookie", ""))
        by_cookie = "session" in cookies and cookies["session"].value == SESSION
        known = by_cookie or self.headers.get("Authorization") == f"Bearer {BEARER}"
        return known and self.application.pages <= self.application.lasts_for

    def _answer(self, status: int, body: str, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body.encode())))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body.encode())

    def log_message(self, format: str, *args: object) -> None:
        """Silent."""


@contextmanager
def login_application() -> Iterator[LoginApplication]:
    application = LoginApplication()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"application": application}))
    application.port = server.server_port
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    try:
        yield application
    finally:
        server.shutdown()
        server.server_close()
