"""Serves the bookshop on loopback with the standard library alone; refuses any other address."""

from __future__ import annotations

import socket
import ssl
import sys
from collections.abc import Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from apviso.demo import api, pages
from apviso.demo.shop import Shop, Visit

HANDSHAKE_SECONDS = 10.0
_MAX_BODY_BYTES = 64 * 1024


class NotLoopback(ValueError):
    """The shop was asked to listen where others could reach it."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], shop: Shop, tls: ssl.SSLContext | None) -> None:
        self.shop = shop
        self._tls = tls
        super().__init__(address, _Handler)

    def get_request(self) -> tuple[socket.socket, Any]:
        """The handshake is left to the connection's own thread: one that stays silent must not keep others waiting."""
        connection, address = super().get_request()
        if self._tls is not None:
            connection = self._tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        return connection, address

    def finish_request(self, request: Any, client_address: Any) -> None:
        if isinstance(request, ssl.SSLSocket):
            request.settimeout(HANDSHAKE_SECONDS)
            request.do_handshake()
        super().finish_request(request, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        # Scanners break off handshakes and connections by the hundred.
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


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
        if api.serves(urlsplit(self.path).path):
            self._refuse_method()
        else:
            self._answer(with_body=True)

    def _refuse_method(self) -> None:
        # What may follow on this connection is the body of a request that is not read.
        self.close_connection = True
        self.send_response(405)
        self.send_header("Allow", "GET, HEAD")
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_PUT = do_PATCH = do_DELETE = do_OPTIONS = do_TRACE = do_QUERY = _refuse_method  # noqa: N815 - the names that http.server looks for

    def _answer(self, *, with_body: bool) -> None:
        parts = urlsplit(self.path)
        query = dict(parse_qsl(parts.query, keep_blank_values=True, errors="replace"))
        visit = Visit(self.server.shop, query, self.headers.get("Authorization", ""))
        made = (api if api.serves(parts.path) else pages).answer(visit, parts.path)
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


def open_shop(
    host: str, port: int, *, hardened: bool, tls: ssl.SSLContext | None = None, fixed: Iterable[str] = (), closed: Iterable[str] = ()
) -> ThreadingHTTPServer:
    """A bound server, not yet serving, behind TLS where it is given; port 0 takes a free one. Raises NotLoopback."""
    if host != "localhost" and not _is_loopback(host):
        raise NotLoopback("The demo shop is vulnerable on purpose and listens on loopback only.")
    return _Server((host, port), Shop(hardened, frozenset(fixed), frozenset(closed)), tls)


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
