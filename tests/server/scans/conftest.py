"""A queued scan for each test that asks, with the restart amnesty already over."""

from __future__ import annotations

from typing import Any

import pytest

from tests.server.scans.situations import Case, queued_scan
from tests.support.clock import Clock
from tests.support.people import Organization, Runner


@pytest.fixture
async def case(acme: Organization, runner: Runner, clock: Clock) -> Case:
    clock.pass_by(seconds=121)
    (await runner.beat()).raise_for_status()
    return await queued_scan(acme, runner)


@pytest.fixture
async def job(case: Case) -> dict[str, Any]:
    """The same scan, being run."""
    return await case.running()
