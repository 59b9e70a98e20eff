"""The demo shop served inside the test's process, and how it is asked."""

from __future__ import annotations

import http.client
import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from apviso.demo.server import open_shop


@dataclass(frozen=True)
class Page:
    status: int
    headers: dict[str, str]
    body: str

    @property
    def json(self) -> Any:
        return json.loads(self.body)


Fetch = Callable[..., Page]


def fetcher(port: int, tls: ssl.SSLContext | None = None) -> Fetch:
    """Gives a function that asks for a path, with further headers where they are named."""

    def fetch(path: str, method: str = "GET", **headers: str) -> Page:
        if tls is None:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        else:
            connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=10, context=tls)
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        body = answer.read().decode()
        connection.close()
        return Page(answer.status, {name.lower(): value for name, value in answer.getheaders()}, body)

    return fetch


@contextmanager
def open_for_visits(*, hardened: bool, tls: ssl.SSLContext | None = None) -> Iterator[int]:
    """The port of a shop that serves."""
    server = open_shop("127.0.0.1", 0, hardened=hardened, tls=tls)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    try:
        yield int(server.server_address[1])
    finally:
        server.shutdown()
        server.server_close()
