"""Notes when an organization becomes ready, stops being ready, or waits for something else, and tells its live stream."""

from __future__ import annotations

from apviso.protocol.wire import OrganizationId
from apviso.server.db.engine import Work
from apviso.server.readiness.assessment import assess
from apviso.server.readiness.gather import gather
from apviso.server.resources import Resources
from apviso.server.stream import store as stream


async def observe_readiness(work: Work, plant: Resources) -> None:
    """Judge anew every organization in which something happened since the last look; the first look at one tells nothing."""
    for organization_id in map(OrganizationId, plant.signals.take_stirred()):
        readiness = assess(await gather(work, plant, organization_id))
        before, now = plant.readiness_seen.get(organization_id), (readiness.ready, readiness.primary_blocker)
        plant.readiness_seen[organization_id] = now
        if before not in (None, now):
            data = {"ready": readiness.ready, "primaryBlocker": readiness.primary_blocker, "reason": readiness.reason}
            stream.publish(work, organization_id, "readiness.changed", **data)
