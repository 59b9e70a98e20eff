"""No sequence of calls, repeats, forgeries, restarts and clock steps breaks what the control plane promises."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.model.machine import ControlPlaneModel
from tests.support.databases import Databases

# About a minute. A failure prints the sequence that caused it; it is not shortened, which would take many times as long.
BOUNDED = settings(
    max_examples=20,
    stateful_step_count=50,
    deadline=None,
    derandomize=True,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_control_plane_under_any_sequence_keeps_its_promises(databases: Databases) -> None:
    on_these = type("ControlPlaneOnThese", (ControlPlaneModel,), {"databases": databases})
    run_state_machine_as_test(on_these, settings=BOUNDED)
