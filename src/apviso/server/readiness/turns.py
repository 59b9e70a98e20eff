"""Tells when a window opens or closes: what the clock alone changes about readiness is news, too."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import SelectBase

from apviso.protocol.readiness import CheckCode
from apviso.server.db.engine import Work
from apviso.server.localtime import has_turned, is_within, next_turn
from apviso.server.readiness.assessment import assess
from apviso.server.readiness.gather import gather
from apviso.server.resources import Resources, Turn
from apviso.server.runners import store as runners
from apviso.server.signals import jobs_topic, stream_topic
from apviso.server.stream import store as stream
from apviso.server.targets import store as targets
from apviso.server.targets.facts import KnownTarget

# In one round; what is left is told in the next.
TARGETS_AT_ONCE, RUNNERS_AT_ONCE = 20, 200


def turns_to_tell(now: datetime, plant: Resources) -> Sequence[SelectBase]:
    return targets.turned(now), runners.turned(now)


async def tell_turns(turn: Turn, plant: Resources) -> None:
    """Tell of targets whose windows have turned, and have the readiness of organizations judged anew where a runner's have."""
    async with plant.database.reading() as work:
        opened_or_closed = await targets.list_turned(work, TARGETS_AT_ONCE)
        maintained = await runners.list_turned(work, RUNNERS_AT_ONCE)
    for target in opened_or_closed:
        async with turn() as work:
            await _tell_target(work, plant, target)
    if maintained:
        async with turn() as work:
            # In the order in which others lock several runners.
            for runner in sorted(maintained, key=lambda one: one.id):
                if await runners.turn(work, runner, next_turn(runner.maintenance_windows, work.now)):
                    work.hints.update((jobs_topic(runner.organization_id), stream_topic(runner.organization_id)))


async def _tell_target(work: Work, plant: Resources, target: KnownTarget) -> None:
    windows, turned_at = target.scan_windows, target.window_turns_at
    if not await targets.turn(work, target, next_turn(windows, work.now)):
        return
    if turned_at is None or turned_at > work.now or not has_turned(windows, turned_at, work.now):
        return  # decided by a clock that was ahead, or open and closed again while nobody looked
    readiness = assess(await gather(work, plant, target.organization_id, target.id))
    expected = None if is_within(windows, work.now) else CheckCode.SCAN_WINDOW_CLOSED
    # Where something else blocks, the window has changed nothing that counts.
    if readiness.primary_blocker == expected:
        data = {"ready": readiness.ready, "primaryBlocker": readiness.primary_blocker, "reason": readiness.reason}
        stream.publish(work, target.organization_id, "readiness.changed", targetId=target.id, domain=target.domain, **data)
