"""The real application on a real database, mostly without a socket: how server tests run it and speak to it."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import httpx2
import uvicorn
from sqlalchemy import select
from starlette.routing import BaseRoute

from apviso.server import housekeeping
from apviso.server.app import ControlPlane, create_app
from apviso.server.db.schema import StreamRow
from apviso.server.organizations.bootstrap import bootstrap
from apviso.server.resources import Resources
from apviso.server.settings import Settings
from tests.support.clock import Clock
from tests.support.people import Organization

START_SECONDS = 30
SOCKET_SECONDS = 10
_ROUTES: list[BaseRoute] = []


@dataclass
class Plane:
    """A running control plane. Its timed duties run when a test calls `settle`."""

    app: ControlPlane
    client: httpx2.AsyncClient
    clock: Clock

    @property
    def resources(self) -> Resources:
        resources = self.app.state.resources
        assert isinstance(resources, Resources)
        return resources

    async def settle(self) -> None:
        """Do every timed duty once, at the clock's moment."""
        await housekeeping.run_once(self.resources)

    async def told(self) -> list[tuple[str, dict[str, Any]]]:
        """What the live streams were told so far, oldest first."""
        async with self.resources.database.reading() as work:
            rows = await work.db.execute(select(StreamRow.type, StreamRow.data).order_by(StreamRow.id))
            return [(row.type, row.data) for row in rows]

    async def organization(self, name: str) -> Organization:
        """A new organization with a key that may do everything."""
        async with self.resources.database.writing() as work:
            way_in = await bootstrap(work, name)
        return Organization(self.client, way_in.organization_id, way_in.key.reveal())

    async def call(self, method: str, path: str, token: str | None = None, **more: Any) -> httpx2.Response:
        """Any request, with any bearer token or none."""
        headers = {**({"authorization": f"Bearer {token}"} if token else {}), **more.pop("headers", {})}
        return await self.client.request(method, path, headers=headers, **more)


def _application(settings: Settings, clock: Clock, *, fast_lane: bool, duties_at_once: bool) -> ControlPlane:
    """The application as the product makes it. The framework works each route out when it is first asked, and again in every new

    application, which takes longer than most tests; the routes know nothing of the application, so that all may have the first one's.
    """
    app = create_app(settings, clock, fast_lane=fast_lane, duties_at_once=duties_at_once, routes=_ROUTES)
    if not _ROUTES:
        _ROUTES.extend(app.router.routes)
    return app


@cache
def described() -> ControlPlane:
    """An application that nobody runs, for tests of its routes and of its document: both are made once for all of them."""
    return _application(Settings(data_dir=Path("unused")), Clock(), fast_lane=True, duties_at_once=False)


@asynccontextmanager
async def running(settings: Settings, clock: Clock, *, fast_lane: bool = True, duties_at_once: bool = False) -> AsyncIterator[Plane]:
    """The application between its start and its orderly end. Mostly a test says itself when timed duties are done."""
    app = _application(settings, clock, fast_lane=fast_lane, duties_at_once=duties_at_once)
    started, enough = asyncio.Event(), asyncio.Event()

    async def live() -> None:
        # In a task of its own: whoever enters the application's lifespan must also leave it.
        async with app.router.lifespan_context(app):
            started.set()
            await enough.wait()

    async with asyncio.TaskGroup() as group:
        group.create_task(live())
        async with asyncio.timeout(START_SECONDS):
            await started.wait()
        transport = httpx2.ASGITransport(app, raise_app_exceptions=False)
        async with httpx2.AsyncClient(transport=transport, base_url="http://control-plane") as client:
            yield Plane(app, client, clock)
        enough.set()


async def answered_from_memory(plane: Plane, call: str) -> float:
    """How many of these calls have been answered before the framework."""
    text = (await plane.client.get("/metrics")).text
    found = re.search(rf'^apviso_answered_from_memory_total{{call="{call}"}} (\S+)$', text, re.MULTILINE)
    assert found is not None
    return float(found[1])


@asynccontextmanager
async def on_a_socket(plane: Plane, http: type[asyncio.Protocol] | Literal["auto"] = "auto") -> AsyncIterator[httpx2.AsyncClient]:
    """A client that speaks to the same application through a socket: a stream has no end that a call without one could wait for.

    `http` are the connections, by themselves uvicorn's own.
    """
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(plane.app, http=http, lifespan="off", log_config=None, timeout_graceful_shutdown=SOCKET_SECONDS)
    server = uvicorn.Server(config)
    async with asyncio.TaskGroup() as group:
        group.create_task(server.serve(sockets=[listener]))
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        async with httpx2.AsyncClient(base_url=address, timeout=SOCKET_SECONDS) as client:
            yield client
        server.should_exit = True
