"""Real `apviso server` processes on one PostgreSQL, and the load balancer before them."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import httpx2

from apviso.protocol.timers import Timers
from apviso.server.settings import Settings
from tests.support.people import Organization

SECONDS = 30


class Turning(httpx2.AsyncBaseTransport):
    """Gives each request to the next address, as a load balancer does, and passes over those that do not answer."""

    def __init__(self, addresses: list[httpx2.URL]) -> None:
        self.addresses = addresses
        self._turn = 0
        self._inner = httpx2.AsyncHTTPTransport()

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        self._turn += 1
        for turn in range(self._turn, self._turn + 20):
            address = self.addresses[turn % len(self.addresses)]
            request.url = request.url.copy_with(host=address.host, port=address.port)
            try:
                answer = await self._inner.handle_async_request(request)
                # Who dies in the middle of an answer has not answered.
                return httpx2.Response(answer.status_code, headers=answer.headers, content=await answer.aread())
            except httpx2.TransportError:
                await asyncio.sleep(0.05)
        raise httpx2.ConnectError("nobody answers", request=request)

    async def aclose(self) -> None:
        await self._inner.aclose()


def _command(*words: str) -> list[str]:
    return [sys.executable, "-c", "from apviso.cli import main; main()", *words]


def _environment(settings: Settings) -> dict[str, str]:
    """The same settings for a process of its own."""
    limits = {f"APVISO_{name}_PER_MINUTE": "1000000" for name in ("REQUESTS", "DAEMON_REQUESTS", "ENROLLMENTS")}
    changed = settings.timers.model_dump(mode="json", exclude_defaults=True)
    timers = {f"APVISO_TIMERS__{name.upper()}": str(value) for name, value in changed.items()}
    places = {"APVISO_DATA_DIR": str(settings.data_dir), "APVISO_DATABASE_URL": settings.database_url}
    return {**os.environ, **limits, **timers, **places}


def impatient(settings: Settings, **timers: float) -> Settings:
    """The same with other timers, in seconds."""
    return settings.model_copy(update={"timers": Timers.model_validate(timers)})


@contextmanager
def server_process(settings: Settings) -> Iterator[subprocess.Popen[str]]:
    log = (settings.data_dir / "servers.log").open("a")
    process = subprocess.Popen(_command("server", "--port", "0"), stdout=subprocess.PIPE, stderr=log, text=True, env=_environment(settings))
    try:
        yield process
    finally:
        process.kill()
        process.wait(SECONDS)
        log.close()
        assert process.stdout is not None
        process.stdout.close()


async def address_of(process: subprocess.Popen[str]) -> httpx2.URL:
    """Where it answers, once it does."""
    assert process.stdout is not None
    async with asyncio.timeout(SECONDS):
        return httpx2.URL((await asyncio.to_thread(process.stdout.readline)).split()[-1])


@asynccontextmanager
async def organization_behind(transport: Turning, settings: Settings) -> AsyncIterator[Organization]:
    """A new organization that calls through the load balancer."""
    bootstrap = _command("admin", "bootstrap", "--json")
    told = await asyncio.to_thread(subprocess.run, bootstrap, capture_output=True, check=True, timeout=SECONDS, env=_environment(settings))
    way_in = json.loads(told.stdout)
    async with httpx2.AsyncClient(transport=transport, base_url="http://control-plane", timeout=SECONDS) as client:
        yield Organization(client, way_in["organizationId"], way_in["apiKey"])
