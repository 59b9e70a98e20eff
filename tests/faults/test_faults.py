"""A few faults with a fixed seed on each database; `make test-faults` has all of them for as long as one likes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.faults.campaign import DURABLE, Ground, on_new_stage
from tests.faults.faults import FAULTS
from tests.support.databases import KINDS, Kind, require_postgres
from tests.support.postgres import postgres_server

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
# One by which no fault lasts long and each strikes in the middle; scans as short as can be.
SEED, REQUESTS = "1263", 12
SELECTED = {"sqlite": ("runner_killed", "wire_lose_answer"), "postgresql": ("database_crashed", "wire_duplicate")}


@contextmanager
def _ground(kind: Kind) -> Iterator[Ground]:
    if kind == "sqlite":
        yield Ground(kind, requests=REQUESTS)
        return
    require_postgres()
    with postgres_server(**DURABLE) as postgres:
        yield Ground(kind, postgres, requests=REQUESTS)


@pytest.mark.parametrize("kind", KINDS)
def test_installation_under_faults_loses_doubles_and_overlaps_nothing(kind: Kind, record_property: Callable[[str, object], None]) -> None:
    with _ground(kind) as ground, on_new_stage(ground, SEED) as campaign:
        for name in SELECTED[kind]:
            campaign.strike(FAULTS[name])
    record_property("measured", f"{kind}: {campaign.summary}")

    assert campaign.summary.problems == [], "\n".join(map(str, campaign.summary.rounds))
