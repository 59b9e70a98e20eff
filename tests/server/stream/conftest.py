"""The control plane of the test on a real socket: a stream has no end that a call without one could wait for."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import httpx2
import pytest
import uvicorn

from tests.support.control_plane import Plane

SECONDS = 10


@pytest.fixture
async def wire(plane: Plane) -> AsyncIterator[httpx2.AsyncClient]:
    """A client that speaks to the same application through a socket."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(plane.app, lifespan="off", log_config=None, timeout_graceful_shutdown=SECONDS))
    async with asyncio.TaskGroup() as group:
        group.create_task(server.serve(sockets=[listener]))
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        async with httpx2.AsyncClient(base_url=address, timeout=SECONDS) as client:
            yield client
        server.should_exit = True
