"""A name server and a web server of the tests, and a control plane that asks them and nobody else."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Any

import httpx2
import pytest

from apviso.server.settings import Settings
from tests.support.names import NameServer, name_server
from tests.support.people import Organization
from tests.support.sites import Site, site

HOST = "shop.example.com"


@pytest.fixture
async def names() -> AsyncIterator[NameServer]:
    async with name_server() as server:
        server.publish(HOST, "A", "127.0.0.1")
        yield server


@pytest.fixture
async def shop() -> AsyncIterator[Site]:
    """What runs at the target: it speaks without encryption."""
    async with site() as server:
        yield server


@pytest.fixture
def settings(settings: Settings, names: NameServer) -> Settings:
    """Loopback counts as permitted, because tests may open no other addresses."""
    return settings.model_copy(
        update={"dns_servers": [names.place], "verification_networks": [ip_network("127.0.0.0/8")], "verification_timeout_seconds": 5}
    )


@dataclass
class Applicant:
    """An organization that wants to prove control of one target."""

    organization: Organization
    target: dict[str, Any]
    instructions: dict[str, Any]

    @property
    def path(self) -> str:
        return f"/targets/{self.target['id']}"

    async def verify(self, method: str) -> httpx2.Response:
        return await self.organization.post(f"{self.path}/verify", {"method": method})

    async def shown(self) -> dict[str, Any]:
        shown: dict[str, Any] = (await self.organization.get(self.path)).json()["target"]
        return shown

    async def told(self) -> list[str]:
        """What the audit trail has of the target, oldest first."""
        events = (await self.organization.get(f"/audit-events?subjectId={self.target['id']}")).json()["auditEvents"]
        return [event["action"] for event in reversed(events)]

    def publish(self, names: NameServer) -> None:
        record = self.instructions["dnsTxt"]
        names.publish(record["recordName"], "TXT", f'"{record["recordValue"]}"')


@pytest.fixture
async def applicant(acme: Organization, shop: Site) -> Applicant:
    target = await acme.target(HOST, "public", scanUrl=f"http://{HOST}:{shop.port}/start")
    told = await acme.get(f"/targets/{target['id']}/verify/instructions")
    return Applicant(acme, target, told.raise_for_status().json()["instructions"])
