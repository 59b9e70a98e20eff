"""Real targets on loopback and the real guard in front of them."""

from __future__ import annotations

import asyncio
import os
import ssl
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from apviso.scanning import environment
from apviso.scanning.guard import AllowedHost, Guard, GuardRules, start_guard
from tests.scanning.shops import Fetch, fetcher, open_for_visits

SECRET = "Bearer s3cret-of-the-target"


@dataclass(frozen=True)
class Seen:
    method: str
    path: str
    headers: dict[str, str]
    at: float


@dataclass
class Target:
    """A server that notes what reaches it. `status` and `headers` are of every answer, `body` of each GET.

    `bodies` and `statuses` are of single paths; `redirects` lead from paths to locations, once more than `patience` requests have come.
    A query in which `fails_at` is found is answered with the status 500."""

    port: int = 0
    status: int = 200
    body: bytes = b"<html><body>here</body></html>"
    headers: dict[str, str] = field(default_factory=dict)
    bodies: dict[str, bytes] = field(default_factory=dict)
    statuses: dict[str, int] = field(default_factory=dict)
    redirects: dict[str, str] = field(default_factory=dict)
    patience: int = 0
    fails_at: str | None = None
    seen: list[Seen] = field(default_factory=list)
    connections: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


class _Handler(BaseHTTPRequestHandler):
    target: Target
    timeout = 10

    def setup(self) -> None:
        self.target.connections += 1
        super().setup()

    def do_GET(self) -> None:
        self.target.seen.append(Seen(self.command, self.path, dict(self.headers), time.monotonic()))
        path, body = urlsplit(self.path).path, self.target.bodies.get(urlsplit(self.path).path, self.target.body)
        location = self.target.redirects.get(path) if len(self.target.seen) > self.target.patience else None
        fails = self.target.fails_at is not None and self.target.fails_at in unquote(urlsplit(self.path).query)
        status = 500 if fails else self.target.statuses.get(path, self.target.status)
        self.send_response(302 if location else status)
        for name, value in (self.target.headers | ({"Location": location} if location else {})).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET  # noqa: N815 - the name that http.server looks for

    def log_message(self, format: str, *args: object) -> None:
        """Silent."""


def serve(target: Target, tls: ssl.SSLContext | None = None) -> ThreadingHTTPServer:
    """Start serving `target` in a thread; the caller shuts the server down."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"target": target}))
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    target.port = server.server_port
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    return server


@pytest.fixture
def target() -> Iterator[Target]:
    made = Target()
    server = serve(made)
    yield made
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="session")
def scanners_dir() -> Path:
    folder = environment.default_dir()
    status = environment.status(folder)
    if status.problem is not None:
        reason = f"{status.problem} {status.fix}"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return folder


StartGuard = Callable[..., Coroutine[None, None, Guard]]


def rules_of(target: Target, **changes: object) -> GuardRules:
    """Rules wide enough for every test that does not change them."""
    return GuardRules(
        scan_id="scan-1",
        allowed=[AllowedHost(scheme="http", host="127.0.0.1", port=target.port)],
        methods=["GET", "HEAD", "OPTIONS"],
        requests_per_second=1_000,
        max_requests=1_000,
        exclude_paths=["logout"],
        headers={"Authorization": SECRET},
    ).model_copy(update=changes)


@pytest.fixture
async def guarded(scanners_dir: Path, tmp_path: Path) -> AsyncIterator[StartGuard]:
    """Starts guards and ends them after the test."""
    started: list[Guard] = []

    async def start(rules: GuardRules, permit_seconds: float = 60) -> Guard:
        guard = await start_guard(rules, scanners_dir, tmp_path, permit_seconds)
        started.append(guard)
        return guard

    yield start
    for guard in started:
        await guard.close()


@dataclass(frozen=True)
class Reply:
    """What came back from the proxy; status 0 where nothing did."""

    status: int
    text: str


async def send(guard: Guard, raw: str | bytes) -> Reply:
    """Write one raw request to the guard and read until it closes or falls silent."""
    reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(guard.proxy_url).port)
    try:
        writer.write(raw if isinstance(raw, bytes) else raw.encode())
        return _reply(await asyncio.wait_for(reader.read(), 20))
    finally:
        writer.close()


def _reply(data: bytes) -> Reply:
    text = data.decode(errors="replace")
    return Reply(int(text.split(" ", 2)[1]) if text.startswith("HTTP/") else 0, text)


async def get(guard: Guard, url: str, *, method: str = "GET", headers: str = "", host: str | None = None) -> Reply:
    """One request in absolute form, as clients send it to a proxy."""
    named = host or urlsplit(url).netloc
    return await send(guard, f"{method} {url} HTTP/1.1\r\nHost: {named}\r\n{headers}Connection: close\r\n\r\n")


async def eventually(holds: Callable[[], Awaitable[bool]], seconds: float = 15) -> None:
    """Wait for a condition, with a deadline."""
    async with asyncio.timeout(seconds):
        while not await holds():  # noqa: ASYNC110 - the condition is another process's
            await asyncio.sleep(0.02)


async def until(holds: Callable[[], bool], seconds: float = 15) -> None:
    async def check() -> bool:
        return holds()

    await eventually(check, seconds)


@pytest.fixture
def careless() -> Iterator[Fetch]:
    """The demo shop with its flaws."""
    with open_for_visits(hardened=False) as port:
        yield fetcher(port)


@pytest.fixture
def hardened() -> Iterator[Fetch]:
    """Its twin without them."""
    with open_for_visits(hardened=True) as port:
        yield fetcher(port)
