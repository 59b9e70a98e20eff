"""Runs the application in uvicorn: one listening socket, a graceful end, as many open files as the host allows."""

from __future__ import annotations

import contextlib
import gc
import signal
import socket
from collections.abc import Awaitable, Callable
from types import FrameType

import structlog
import uuid_utils
import uvicorn
from fastapi import FastAPI

from apviso.connections import Bounds, Quick, Refusal, within
from apviso.server.accounts.signing_in import first_link, set_up_url
from apviso.server.errors import BadRequest, DatabaseUnavailable, problem_response
from apviso.server.resources import Resources
from apviso.server.settings import Settings

log = structlog.get_logger("apviso.server")
BACKLOG = 4096
# Requests that run get this long to end; runners poll again elsewhere or later, so nothing is lost by cutting a long poll.
GRACEFUL_SECONDS = 10
# Each runner holds a long poll open, each dashboard a stream.
COMFORTABLE_OPEN_FILES = 4096
# Database, webhooks that are sent, typesetting, logs.
FILES_OF_OUR_OWN = 256
FEWEST_CONNECTIONS = 64
YOUNG_OBJECTS = 1_000
_NEVER = 1_000_000_000


class CannotListen(Exception):
    """The address is taken, not this host's, or not permitted."""


def listen(settings: Settings) -> socket.socket:
    """Open the socket before anything else is touched. Raises CannotListen."""
    try:
        family, _, _, _, address = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)[0]
        return socket.create_server((str(address[0]), int(address[1])), family=family, backlog=BACKLOG)
    except OSError as error:
        raise CannotListen(f"Cannot listen on {settings.host} port {settings.port}: {error.strerror or error}") from error


def address_of(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


def serve(
    app: FastAPI, settings: Settings, listener: socket.socket, announce: Callable[[str, str | None], None], quick: Quick | None = None
) -> bool:
    """Serve until SIGTERM or SIGINT; whether it ever started.

    Once requests are answered, `announce` gets the address and, while nobody can sign in yet, the one that lets the first person in.
    """
    open_files = raise_open_files()
    _collect_young_alone()
    config = uvicorn.Config(
        app,
        # Where each heartbeat is written before its answer, none is answered in one go.
        http=within(_bounds(settings, open_files), refusal, quick if settings.presence_flush_seconds else None),
        ws="none",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        lifespan="on",
        timeout_graceful_shutdown=GRACEFUL_SECONDS,
    )

    def release() -> None:
        # Looked up late: the resources are there once the application has started.
        app.state.resources.signals.close()
        app.state.resources.waiting.close()

    async def announce_all() -> None:
        announce(address_of(listener), await _way_in(app, address_of(listener)))

    server = _Announcing(config, announce_all, release)
    # uvicorn ends gracefully and then raises the signal again; a wanted end is not a failure.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _already_ended)
    # uvicorn leaves by itself, with a code of its own, where the application did not start.
    with contextlib.suppress(SystemExit):
        server.run(sockets=[listener])
    return server.started


async def _way_in(app: FastAPI, address: str) -> str | None:
    resources: Resources = app.state.resources
    try:
        async with resources.database.writing() as work:
            link = await first_link(work)
    except DatabaseUnavailable:
        log.warning("no set-up link was made: the database is away")
        return None
    return None if link is None else set_up_url(resources.settings.public_url or address, link)


def _bounds(settings: Settings, open_files: int | None) -> Bounds:
    return Bounds(
        head_seconds=settings.request_head_seconds,
        head_bytes=settings.max_head_bytes,
        body_seconds=settings.request_body_seconds,
        stalled_seconds=settings.answer_stalled_seconds,
        connections=connections_that_fit(settings.max_connections, open_files),
    )


def refusal(why: str | None) -> Refusal:
    problem = problem_response(BadRequest(why), str(uuid_utils.uuid7()))
    return Refusal(problem.status_code, problem.raw_headers, bytes(problem.body))


def connections_that_fit(wanted: int, open_files: int | None) -> int:
    """Each needs an open file. Without any left, the server could not even reach its database; None: there is no limit."""
    return wanted if open_files is None else min(wanted, max(FEWEST_CONNECTIONS, open_files - FILES_OF_OUR_OWN))


def _collect_young_alone() -> None:
    """Collecting garbage among everything walks over every held poll: with ten thousand of them nobody is answered for most of a second.

    What is young is looked at often, while it is little. Nearly everything is freed without any of it, and the rest waits for
    `housekeeping`.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, _NEVER, _NEVER)


class _Announcing(uvicorn.Server):
    """Tells when it serves, and lets go of long polls and streams when it is to end."""

    def __init__(self, config: uvicorn.Config, announce: Callable[[], Awaitable[None]], release: Callable[[], None]) -> None:
        super().__init__(config)
        self._announce = announce
        self._release = release

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            await self._announce()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._release()
        await super().shutdown(sockets)


def _already_ended(_: int, __: FrameType | None) -> None:
    return None


def raise_open_files() -> int | None:
    """Use what the host allows, and tell how much that is; warn where it is little. None where there is no limit."""
    try:
        import resource
    except ImportError:  # this platform has no such limit
        return None
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY or soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if 0 <= hard < COMFORTABLE_OPEN_FILES:
        log.warning("few open files allowed", limit=hard, comfortable=COMFORTABLE_OPEN_FILES)
    return None if hard == resource.RLIM_INFINITY else hard
