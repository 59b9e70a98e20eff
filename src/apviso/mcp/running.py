"""Runs the server: over standard input and output as a program of an assistant, or over HTTP behind its door."""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from types import FrameType

import uvicorn
from mcp.server.transport_security import TransportSecuritySettings

from apviso.client import AsyncClient
from apviso.connections import Bounds, Refusal, within
from apviso.mcp.assistant import assistant
from apviso.mcp.door import Door
from apviso.mcp.place import Place, names_of, origins_of

PATH = "/mcp"
# A call of a tool is a name and a few arguments.
MAX_BODY_BYTES = 256 * 1024
MAX_CONNECTIONS = 64
KEEP_ALIVE_SECONDS, GRACEFUL_SECONDS = 15, 5
# As the control plane's own, with fewer bytes and connections: one assistant is answered here, or a few.
BOUNDS = Bounds(head_seconds=10, head_bytes=16 * 1024, body_seconds=30, stalled_seconds=30, connections=MAX_CONNECTIONS)
BACKLOG = 128


def configure_log() -> None:
    """To standard error, warnings alone: standard output belongs to the protocol, and requests of the client are no news."""
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(levelname)s %(name)s %(message)s")


def over_stdio(*, allow_writes: bool) -> None:
    """Until standard input ends. Raises BadSettings."""
    # A thread waits for standard input and cannot be called back, so an interrupt that is handled would end nothing.
    signal.signal(signal.SIGINT, signal.SIG_DFL)

    async def run() -> None:
        async with AsyncClient() as client:
            await assistant(client, allow_writes=allow_writes).run_stdio_async()

    asyncio.run(run())


def listen(place: Place) -> socket.socket:
    """Raises OSError."""
    family, _, _, _, address = socket.getaddrinfo(place.host, place.port, type=socket.SOCK_STREAM)[0]
    return socket.create_server((str(address[0]), int(address[1])), family=family, backlog=BACKLOG)


def over_http(
    place: Place, listener: socket.socket, token: str, further_names: Sequence[str], announce: Callable[[str], None], *, allow_writes: bool
) -> None:
    """Until SIGTERM or SIGINT. Raises BadSettings, and ValueError where no name is left."""
    host, port = listener.getsockname()[:2]
    names = names_of(place, port, further_names)
    address = f"http://[{host}]:{port}{PATH}" if ":" in host else f"http://{host}:{port}{PATH}"
    # uvicorn ends gracefully and then raises the signal again; a wanted end is not a failure.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _already_ended)

    async def run() -> None:
        async with AsyncClient() as client:
            application = assistant(client, allow_writes=allow_writes).streamable_http_app(
                streamable_http_path=PATH,
                # Each request stands for itself, so that no session is kept and none can be taken over.
                stateless_http=True,
                json_response=True,
                max_request_body_size=MAX_BODY_BYTES,
                transport_security=TransportSecuritySettings(allowed_hosts=names, allowed_origins=origins_of(names)),
            )
            await _Announcing(configured(Door(application, token, MAX_BODY_BYTES)), lambda: announce(address)).serve([listener])

    asyncio.run(run())


def configured(application: Door, bounds: Bounds = BOUNDS) -> uvicorn.Config:
    """Whoever is slow, or takes nothing of an answer, is cut off before it can keep others out."""
    return uvicorn.Config(
        application,
        http=within(bounds, _refusal),
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        lifespan="on",
        ws="none",
        limit_concurrency=MAX_CONNECTIONS,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=GRACEFUL_SECONDS,
    )


def _refusal(why: str | None) -> Refusal:
    content = json.dumps({"error": why or "that is no request in HTTP/1.1"}).encode()
    return Refusal(400, [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())], content)


class _Announcing(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, announce: Callable[[], None]) -> None:
        super().__init__(config)
        self._announce = announce

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._announce()


def _already_ended(_: int, __: FrameType | None) -> None:
    return None
