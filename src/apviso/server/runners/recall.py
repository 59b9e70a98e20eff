"""Reads runners into this process' memory, many in one look, so that it can answer for them. What is special about one is left out."""

from __future__ import annotations

from collections.abc import Collection

from apviso.protocol.daemon import BeatingRunner, HeartbeatAnswer
from apviso.server.resources import Resources
from apviso.server.runners import store
from apviso.server.runners.beats import Remembered, remembered
from apviso.server.runners.directives import directives_of


async def recall(plant: Resources, prefixes: Collection[str]) -> dict[str, Remembered]:
    """Remember the runners behind these tokens' prefixes. Not found: tokens that run out or were not used yet, and whoever is revoked."""
    moment = plant.beats.moment
    async with plant.database.reading() as work:
        known = await store.list_by_token(work, prefixes)
        ids = {runner.id for runner, _ in known.values()}
        cancelled = await store.list_cancelled_jobs(work, {runner.id for runner, _ in known.values() if runner.live_leases})
        nonces = await store.list_nonces(work, ids)
        now = work.now
    found: dict[str, Remembered] = {}
    for prefix, (runner, digest) in known.items():
        if runner.observed_status is None:
            continue
        answer = HeartbeatAnswer(
            runner=BeatingRunner(id=runner.id, status=runner.observed_status),
            heartbeat_interval_ms=plant.pace.interval_ms,
            directives=directives_of(plant, runner, cancelled.get(runner.id, []), now),
            server_time=now,
        )
        found[prefix] = remembered(runner, digest, answer, nonces.get(runner.id, frozenset()))
        plant.beats.remember(prefix, runner.id, found[prefix], moment)
    return found
