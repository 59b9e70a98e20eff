"""The worst neighbor of a secret: a site in front of the demo shop that repeats every header it is sent, in pages, headers and links."""

from __future__ import annotations

import html
import http.client
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, quote, urlsplit

_HOP_BY_HOP = {"connection", "content-length", "transfer-encoding", "server", "date"}
_LINK_WITH_QUERY = re.compile(rb"""href=['"]/[^'"?]*[?][^'"]*""")
_OF_EVERY_REQUEST = {"host", "user-agent", "accept", "accept-encoding", "accept-language", "connection", "content-length", "x-scan-id"}
LOGIN_PAGE = '<form action="/session" method="post"><input name="user"><input type="password" name="pw"></form>'


@dataclass
class EchoingShop:
    """`behind_login` is the password and the session that it is exchanged for; `seen` are all headers' values and bodies that came."""

    shop: str
    behind_login: tuple[str, str] | None = None
    port: int = 0
    seen: set[str] = field(default_factory=set)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"


class _Handler(BaseHTTPRequestHandler):
    site: EchoingShop
    timeout = 20

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.site.seen |= {*self.headers.values(), body.decode(errors="replace")}
        if self.site.behind_login is not None and f"session={self.site.behind_login[1]}" not in self.headers.get("Cookie", ""):
            self._log_in(self.site.behind_login, body)
            return
        shop = http.client.HTTPConnection(urlsplit(self.site.shop).netloc, timeout=20)
        try:
            shop.request(self.command, self.path, body or None, {"Host": self.headers["Host"]})
            answer = shop.getresponse()
            self._echo(answer.status, answer.getheaders(), answer.read())
        finally:
            shop.close()

    do_HEAD = do_GET  # noqa: N815 - the names that http.server looks for
    do_POST = do_GET  # noqa: N815
    do_OPTIONS = do_GET  # noqa: N815

    def _log_in(self, login: tuple[str, str], body: bytes) -> None:
        given = parse_qs(body.decode(errors="replace")).get("pw", [""])[0]
        if self.command == "POST" and given == login[0]:
            self._answer(302, [("Location", "/"), ("Set-Cookie", f"session={login[1]}; Path=/")], b"")
        elif urlsplit(self.path).path == "/sign-in":
            self._answer(200, [("Content-Type", "text/html")], LOGIN_PAGE.encode())
        else:
            self._answer(302, [("Location", "/sign-in")], b"")

    def _echo(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        told = {name: value for name, value in self.headers.items() if name.lower() not in _OF_EVERY_REQUEST}
        if any("html" in value for name, value in headers if name.lower() == "content-type"):
            body = body.replace(b"</body>", f"<pre>{html.escape(repr(told))}</pre></body>".encode())
            seen = quote(" ".join(told.values()), safe="").encode()
            body = _LINK_WITH_QUERY.sub(lambda link: link[0] + b"&amp;seen=" + seen, body)
        repeated = [(f"X-Seen-{name}", value) for name, value in told.items()]
        self._answer(status, [*headers, *repeated], body)

    def _answer(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self.send_response(status)
        for name, value in headers:
            if name.lower() not in _HOP_BY_HOP:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Silent."""


@contextmanager
def echoing_shop(shop: str, behind_login: tuple[str, str] | None = None) -> Iterator[EchoingShop]:
    """In front of the shop at that address."""
    site = EchoingShop(shop, behind_login)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"site": site}))
    site.port = server.server_port
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    try:
        yield site
    finally:
        server.shutdown()
        server.server_close()
