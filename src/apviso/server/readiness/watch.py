"""Notes when an organization becomes ready, stops being ready, or waits for something else, and tells its live stream."""

from __future__ import annotations

from apviso.protocol.wire import OrganizationId
from apviso.server.db.engine import Work
from apviso.server.organizations import store as organizations
from apviso.server.readiness.assessment import assess
from apviso.server.readiness.gather import gather
from apviso.server.resources import Resources
from apviso.server.signals import EVERYONE
from apviso.server.stream import store as stream

# What is told of an organization that nothing blocks.
READY = "ready"


async def observe_readiness(work: Work, plant: Resources) -> None:
    """Judge anew every organization in which something happened since the last look; the first look at one tells nothing."""
    stirred = plant.signals.take_stirred()
    if EVERYONE in stirred:
        stirred = {organization.id for organization in await organizations.list_organizations(work)}
    for organization_id in map(OrganizationId, sorted(stirred)):
        readiness = assess(await gather(work, plant, organization_id))
        before, now = await organizations.told_readiness(work, organization_id), readiness.primary_blocker or READY
        if before == now:
            continue
        await organizations.tell_readiness(work, organization_id, now)
        if before is not None:
            data = {"ready": readiness.ready, "primaryBlocker": readiness.primary_blocker, "reason": readiness.reason}
            stream.publish(work, organization_id, "readiness.changed", **data)
