"""An organization's runners from memory: what is shown is what the database has, and only what has changed since is read from it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from apviso.protocol.wire import OrganizationId, RunnerId
from apviso.server.db.engine import Work
from apviso.server.resources import Resources
from apviso.server.runners import store
from apviso.server.runners.records import Records
from apviso.server.runners.watch import policy_of

# Rows of one statement: between two of them other calls have their turn.
ROWS_AT_ONCE = 200


@dataclass
class _Kept:
    """`horizon` and `looked_at`: up to when the writes of other processes have been seen."""

    records: Records = field(default_factory=Records)
    horizon: int = 0
    looked_at: datetime | None = None


async def current(plant: Resources, organization_id: OrganizationId) -> Records:
    """The runners as they stand now. What this process has committed is in them; what others wrote behind, a flush later at most."""
    now = plant.database.clock()
    snapshot = plant.snapshots.of(organization_id, now)
    async with snapshot.looking:
        if plant.signals.is_deaf:
            snapshot.kept = None
        changed = snapshot.take_changed()
        kept: _Kept | None = snapshot.kept
        try:
            if kept is None:
                snapshot.kept = kept = _Kept()
            await _bring_up_to_date(plant, organization_id, kept, changed, now)
        except BaseException:
            # Half of what has changed may be in it.
            snapshot.kept = None
            raise
        return kept.records


def unchanged(plant: Resources, organization_id: OrganizationId) -> Records | None:
    """The same, where there is nothing to read or to judge; None where there is, or somebody is about to."""
    now = plant.database.clock()
    snapshot = plant.snapshots.of(organization_id, now)
    kept: _Kept | None = snapshot.kept
    if kept is None or plant.signals.is_deaf or snapshot.looking.locked() or snapshot.has_changed or _is_unseen(plant, kept, now):
        return None
    return kept.records if kept.records.stand_at(now, policy_of(plant)) else None


def _is_unseen(plant: Resources, kept: _Kept, now: datetime) -> bool:
    """Whether other processes may have written since."""
    flush = timedelta(seconds=plant.settings.presence_flush_seconds)
    return kept.looked_at is None or (plant.database.is_shared and not timedelta() <= now - kept.looked_at < flush)


async def _bring_up_to_date(plant: Resources, organization_id: OrganizationId, kept: _Kept, changed: set[RunnerId], now: datetime) -> None:
    due = kept.records.begin(now, policy_of(plant))
    for start in range(0, len(due), ROWS_AT_ONCE):
        kept.records.put(due[start : start + ROWS_AT_ONCE])
        await asyncio.sleep(0)
    is_unseen = _is_unseen(plant, kept, now)
    if not (changed or is_unseen):
        return
    async with plant.database.reading(aside=True) as work:
        if is_unseen:
            changed |= await _look_elsewhere(work, organization_id, kept, plant.database.is_shared)
        wanted = sorted(changed)
        for start in range(0, len(wanted), ROWS_AT_ONCE):
            read = await store.list_by_id(work, organization_id, wanted[start : start + ROWS_AT_ONCE])
            kept.records.put(read.values())


async def _look_elsewhere(work: Work, organization_id: OrganizationId, kept: _Kept, is_shared: bool) -> set[RunnerId]:
    """Whose rows have been written since the last look, by whichever process; at the first look everyone."""
    # Asked for first: what is committed between the two statements is seen twice, not never.
    horizon = await store.horizon(work) if is_shared else 0
    is_first, before = kept.looked_at is None, kept.horizon
    found = await (store.list_ids(work, organization_id) if is_first else store.list_written_since(work, organization_id, before))
    kept.horizon, kept.looked_at = horizon, work.now
    return set(found)
