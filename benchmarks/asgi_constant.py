"""`python -m benchmarks.asgi_constant`: the least that an ASGI application can do for a heartbeat, in the server that ours runs in."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from starlette.types import Receive, Scope, Send

BODY = (
    b'{"runner":{"id":"01970c5e-0000-7000-8000-000000000000","status":"online"},"heartbeatIntervalMs":15000,"directives":{"cancelJobs":[],'
    b'"adminState":"enabled","drainDeadline":null,"rotateToken":false,"minimumVersion":null,"minimumVersionFrom":null},"serverTime":"2026-05-03T09:15:32Z"}'
)
_HEADERS = [(b"content-type", b"application/json"), (b"content-length", str(len(BODY)).encode())]


async def constant(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] != "http":
        return
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
    await send({"type": "http.response.body", "body": BODY})


@contextmanager
def constant_server() -> Iterator[tuple[int, int]]:
    """Its port and process id, while it runs in a process of its own."""
    process = subprocess.Popen([sys.executable, "-m", "benchmarks.asgi_constant"], stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        yield json.loads(process.stdout.readline())["listening"], process.pid
    finally:
        process.terminate()
        process.wait(30)
        process.stdout.close()


def main() -> None:
    listener = socket.create_server(("127.0.0.1", 0), backlog=512)
    sys.stdout.write(json.dumps({"listening": listener.getsockname()[1]}) + "\n")
    sys.stdout.flush()
    config = uvicorn.Config(constant, log_config=None, access_log=False, server_header=False, lifespan="off")
    # As our own server runs: with uvloop where there is one.
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
