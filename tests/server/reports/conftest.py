"""A running scan for each test that asks, whose runner may report flaws, and the way it ends."""

from __future__ import annotations

from typing import Any

import pytest

from tests.server.scans.situations import Case, found, queued_scan
from tests.support.people import Organization, Runner


@pytest.fixture
async def case(acme: Organization, runner: Runner) -> Case:
    return await queued_scan(acme, runner)


@pytest.fixture
async def job(case: Case) -> dict[str, Any]:
    return await case.running()


@pytest.fixture
async def ended(case: Case, job: dict[str, Any]) -> Case:
    """A complete scan with one finding."""
    await finish(case, job, found(1))
    return case


async def finish(case: Case, job: dict[str, Any], *events: dict[str, Any], **told: Any) -> None:
    if events:
        (await case.runner.on_job(job, "events", events=list(events))).raise_for_status()
    ending = {"status": "completed", "endReason": "completed", "coverage": {"complete": True, "reasons": []}}
    (await case.runner.on_job(job, "finish", **(ending | {"lastSeq": len(events)} | told))).raise_for_status()
