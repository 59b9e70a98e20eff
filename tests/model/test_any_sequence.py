"""No sequence of calls, repeats, forgeries, restarts and clock steps breaks what the control plane promises."""

from __future__ import annotations

import pytest

from tests.model.long_run import walk
from tests.support.databases import Databases

# About half a minute for each database; `make test-model` looks as long as one likes.
SEQUENCES, STEPS = 11, 100
# What the sequences are for. A change of the model by which they would lead nowhere must not look like a proof.
MUST_MEET = {
    "claim: a job", "claim: paused", "claim: draining", "claim: quarantined", "claim: 401 runner_revoked", "scan: 201",
    "scan: 409 scan_already_active", "register: 201", "register: 409 enrollment_token_used", "lease: 200", "lease: 409 lease_lost",
    "start: 200", "preflight: 200", "events: 200", "events: 409 sequence_gap", "events: 409 lease_lost", "finish: 200",
    "finish: 409 lease_lost",
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_control_plane_under_any_sequence_keeps_its_promises(databases: Databases) -> None:
    met = walk(databases, SEQUENCES, STEPS)

    assert set(met) >= MUST_MEET, sorted(MUST_MEET - set(met))
