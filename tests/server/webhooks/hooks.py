"""Webhooks as tests make them, and what became of their deliveries."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

from tests.support.people import Organization

SECONDS = 10
UNFINISHED = ("pending", "held")


@dataclass
class Hook:
    organization: Organization
    id: str
    secret: str = field(repr=False)

    async def log(self, **wanted: str) -> list[dict[str, Any]]:
        """Its deliveries, newest first."""
        answer = await self.organization.get(f"/webhooks/{self.id}/deliveries", params=wanted)
        deliveries: list[dict[str, Any]] = answer.raise_for_status().json()["deliveries"]
        return deliveries

    async def shown(self) -> dict[str, Any]:
        answer = await self.organization.get(f"/webhooks/{self.id}")
        webhook: dict[str, Any] = answer.raise_for_status().json()["webhook"]
        return webhook

    async def attempted(self, attempts: int = 1) -> dict[str, Any]:
        """The newest delivery, once this many attempts at it have been written down."""
        async with asyncio.timeout(SECONDS):
            while True:
                newest = (await self.log())[:1]
                if newest and newest[0]["attempts"] >= attempts and (newest[0]["error"] or newest[0]["finishedAt"]):
                    return newest[0]
                await asyncio.sleep(0.01)

    async def finished(self) -> list[dict[str, Any]]:
        """Every delivery, newest first, once none is open."""
        async with asyncio.timeout(SECONDS):
            while True:
                log = await self.log()
                if not any(one["status"] in UNFINISHED for one in log):
                    return log
                await asyncio.sleep(0.01)

    async def tried(self) -> dict[str, Any]:
        sent = await self.organization.post(f"/webhooks/{self.id}/test")
        delivery: dict[str, Any] = sent.raise_for_status().json()["delivery"]
        return delivery


async def hook(organization: Organization, url: str, *events: str, **more: Any) -> Hook:
    """A webhook for these events, or for everything."""
    made = await organization.post("/webhooks", {"url": url, "events": list(events) or ["*"], **more})
    issued = made.raise_for_status().json()
    return Hook(organization, issued["webhook"]["id"], issued["secret"])
