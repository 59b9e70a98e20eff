"""A running scan for each test that asks, whose runner may report flaws."""

from __future__ import annotations

from typing import Any

import pytest

from tests.server.scans.situations import Case, queued_scan
from tests.support.people import Organization, Runner


@pytest.fixture
async def case(acme: Organization, runner: Runner) -> Case:
    return await queued_scan(acme, runner)


@pytest.fixture
async def job(case: Case) -> dict[str, Any]:
    return await case.running()
