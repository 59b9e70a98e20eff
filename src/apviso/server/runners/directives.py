"""What the server wants of a runner; the answers of heartbeat and claim carry the same."""

from __future__ import annotations

from datetime import datetime

from apviso.protocol.daemon import Directives
from apviso.protocol.wire import JobId
from apviso.server.db.engine import Work
from apviso.server.resources import Resources
from apviso.server.runners import store
from apviso.server.runners.facts import RunnerFacts
from apviso.server.runners.presence import admin_state_at


async def directives_for(work: Work, plant: Resources, runner: RunnerFacts) -> Directives:
    # Whoever holds no job has none to stop.
    cancelled = await store.list_cancelled_jobs(work, [runner.id]) if runner.live_leases else {}
    return directives_of(plant, runner, cancelled.get(runner.id, []), work.now)


def directives_of(plant: Resources, runner: RunnerFacts, cancelled: list[JobId], now: datetime) -> Directives:
    return Directives(
        cancel_jobs=cancelled,
        admin_state=admin_state_at(runner, now),
        drain_deadline=runner.drain_deadline,
        rotate_token=runner.rotate_requested_at is not None,
        minimum_version=plant.settings.minimum_runner_version,
        minimum_version_from=plant.settings.minimum_runner_version_from,
    )
