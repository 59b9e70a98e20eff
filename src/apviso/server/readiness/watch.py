"""Notes when an organization becomes ready, stops being ready, or waits for something else, and tells its live stream."""

from __future__ import annotations

from apviso.protocol.readiness import Readiness
from apviso.protocol.wire import OrganizationId
from apviso.server.db.engine import Work
from apviso.server.organizations import store as organizations
from apviso.server.readiness.gather import READY, readiness_of
from apviso.server.resources import Resources, Turn
from apviso.server.runners.fleet import current
from apviso.server.signals import EVERYONE
from apviso.server.stream import store as stream


async def observe_readiness(turn: Turn, plant: Resources) -> None:
    """Judge anew every organization in which something happened since the last look; the first look at one tells nothing."""
    stirred = sorted(plant.signals.take_stirred())
    try:
        if EVERYONE in stirred:
            async with plant.database.reading() as work:
                stirred = sorted({*stirred, *(one.id for one in await organizations.list_organizations(work))} - {EVERYONE})
        while stirred:
            organization_id = OrganizationId(stirred[0])
            records = await current(plant, organization_id)
            readiness = await readiness_of(plant, organization_id, records, is_brief=True)
            async with turn() as work:
                await _observe(work, organization_id, readiness)
            del stirred[0]
    finally:
        # What could not be looked at now is looked at next time.
        plant.signals.stir(stirred)


async def _observe(work: Work, organization_id: OrganizationId, readiness: Readiness) -> None:
    before, now = await organizations.told_readiness(work, organization_id), readiness.primary_blocker or READY
    if before == now:
        return
    await organizations.tell_readiness(work, organization_id, now)
    if before is not None:
        data = {"ready": readiness.ready, "primaryBlocker": readiness.primary_blocker, "reason": readiness.reason}
        stream.publish(work, organization_id, "readiness.changed", **data)
