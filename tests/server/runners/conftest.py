"""Whatever concerns heartbeats is tested on the documented way and on the fast lane."""

from __future__ import annotations

import pytest


@pytest.fixture(params=[True, False], ids=["fast-lane", "documented-way"])
def fast_lane(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)
