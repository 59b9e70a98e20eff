"""One fault with a fixed seed; `make test-faults` has all of them, and runs beside this suite in continuous integration."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.faults.campaign import on_new_stage
from tests.faults.faults import FAULTS
from tests.faults.ground import Ground

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
# One by which the fault does not last long and strikes in the middle; scans as short as can be.
SEED, REQUESTS = "12", 12


def test_installation_whose_runner_is_killed_loses_doubles_and_overlaps_nothing(record_property: Callable[[str, object], None]) -> None:
    with on_new_stage(Ground("sqlite", requests=REQUESTS), SEED) as campaign:
        campaign.strike(FAULTS["runner_killed"])
    record_property("measured", f"one fault: {campaign.summary}")

    assert campaign.summary.problems == [], "\n".join(map(str, campaign.summary.rounds))
