"""Situations that tests of scans start from, and short ways to look at what became of one."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from itertools import count
from typing import Any

from tests.support.clock import Clock
from tests.support.people import Organization, Runner

_NUMBERS = count(1)
ENOUGH_SECONDS = 10
ENDED = {"status": "completed", "endReason": "completed", "lastSeq": 0, "coverage": {"complete": True, "reasons": []}}


def logged(seq: int, message: str = "hello") -> dict[str, Any]:
    """A log event."""
    return {"seq": seq, "at": "2026-05-03T09:15:32Z", "type": "log", "level": "info", "message": message}


def found(seq: int, title: str = "SQL injection", **more: Any) -> dict[str, Any]:
    """A finding event."""
    flaw = {"title": title, "severity": "high", "cweId": 89, "url": "http://localhost:3000/items/7", "parameter": "q", **more}
    return {"seq": seq, "at": "2026-05-03T09:15:32Z", "type": "finding", "finding": flaw}


@dataclass
class Case:
    """One scan of one target, with the runner that is to take it."""

    organization: Organization
    runner: Runner
    target: dict[str, Any]
    scan_id: str
    job_id: str

    async def scan(self) -> dict[str, Any]:
        answer = await self.organization.get(f"/scans/{self.scan_id}")
        seen: dict[str, Any] = answer.raise_for_status().json()["scan"]
        return seen

    async def status(self) -> str:
        return str((await self.scan())["status"])

    async def ending(self) -> tuple[str, str | None]:
        seen = await self.scan()
        return seen["status"], seen["endReason"]

    async def log(self) -> list[dict[str, Any]]:
        answer = await self.organization.get(f"/scans/{self.scan_id}/log")
        events: list[dict[str, Any]] = answer.raise_for_status().json()["events"]
        return events

    async def cancel(self) -> None:
        (await self.organization.post(f"/scans/{self.scan_id}/cancel")).raise_for_status()

    async def running(self, runner: Runner | None = None) -> dict[str, Any]:
        """Claimed and started; the job."""
        held_by = runner or self.runner
        job = await held_by.claimed()
        (await held_by.on_job(job, "preflight", ok=True)).raise_for_status()
        (await held_by.on_job(job, "start")).raise_for_status()
        return job


async def queued_scan(organization: Organization, runner: Runner, **wanted: Any) -> Case:
    """A scan of a fresh target, waiting for a runner."""
    target = await organization.target(f"localhost:{3000 + next(_NUMBERS)}")
    made = await organization.scan(target["id"], **wanted)
    return Case(organization, runner, target, made["scan"]["id"], made["job"]["id"])


async def pass_keeping_alive(clock: Clock, seconds: float, *runners: Runner) -> None:
    """Time passes while these runners keep reporting."""
    for _ in range(int(seconds // 15)):
        clock.pass_by(seconds=15)
        for runner in runners:
            (await runner.beat()).raise_for_status()
    clock.pass_by(seconds=seconds % 15)
    for runner in runners:
        (await runner.beat()).raise_for_status()


async def until_in_line(organization: Organization, claims: int = 1) -> None:
    """Until this many claims have looked for a job and wait for one."""
    await _until_shown(organization, f"apviso_claims_waiting {claims}.0\n")


async def until_parked(organization: Organization, requests: int = 1) -> None:
    """Until this many long polls and streams are held open."""
    await _until_shown(organization, f"apviso_parked_requests {requests}.0\n")


async def _until_shown(organization: Organization, shown: str) -> None:
    async with asyncio.timeout(ENOUGH_SECONDS):
        while shown not in (await organization.client.get("/metrics")).text:  # noqa: ASYNC110  # parking signals nobody
            await asyncio.sleep(0.01)
