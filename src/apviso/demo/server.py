"""Serves the bookshop on loopback with the standard library alone; refuses any other address."""

from __future__ import annotations

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from urllib.parse import parse_qsl, urlsplit

from apviso.demo.pages import Shop, answer

_MAX_BODY_BYTES = 64 * 1024


class NotLoopback(ValueError):
    """The shop was asked to listen where others could reach it."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], shop: Shop) -> None:
        self.shop = shop
        super().__init__(address, _Handler)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    # Two writes per answer would otherwise wait for each other on a kept connection.
    disable_nagle_algorithm = True
    timeout = 30

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "0")
        if not length.isdigit() or int(length) > _MAX_BODY_BYTES:
            self.close_connection = True
            self.send_error(413)
            return
        self.rfile.read(int(length))
        self._answer(with_body=True)

    def _answer(self, *, with_body: bool) -> None:
        parts = urlsplit(self.path)
        query = dict(parse_qsl(parts.query, keep_blank_values=True, errors="replace"))
        made = answer(self.server.shop, parts.path, query)
        body = made.body.encode(errors="replace")
        self.send_response(made.status)
        for name, value in made.headers:
            self.send_header(name, value.encode("ascii", "replace").decode())
        self.send_header("Content-Type", made.content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def version_string(self) -> str:
        return "bookshop"

    def log_message(self, format: str, *args: object) -> None:
        """Silent: standard output belongs to the one line that names the port."""


def open_shop(host: str, port: int, *, hardened: bool) -> ThreadingHTTPServer:
    """A bound server, not yet serving; port 0 takes a free one. Raises NotLoopback."""
    if host != "localhost" and not _is_loopback(host):
        raise NotLoopback("The demo shop is vulnerable on purpose and listens on loopback only.")
    return _Server((host, port), Shop(hardened=hardened))


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
