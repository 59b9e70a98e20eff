"""Tells an organization once that one of its API keys runs out soon, while there is time to issue another."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import SelectBase

from apviso.protocol.wire import format_instant
from apviso.server.organizations import store
from apviso.server.resources import Resources, Turn
from apviso.server.stream import store as stream

TOLD_BEFORE = timedelta(days=7)


def keys_to_tell_of(now: datetime, plant: Resources) -> Sequence[SelectBase]:
    return (store.expiring(now, now + TOLD_BEFORE),)


async def tell_expiring_keys(turn: Turn, plant: Resources) -> None:
    """A key that was issued for less than a week is short-lived on purpose, and no news."""
    async with plant.database.reading() as work:
        if not await store.list_expiring(work, work.now + TOLD_BEFORE):
            return
    async with turn() as work:
        expiring = await store.list_expiring(work, work.now + TOLD_BEFORE)
        await store.note_expiry_told(work, [key.id for _, key in expiring])
        for organization_id, key in expiring:
            if key.expires_at is not None and key.expires_at - key.created_at > TOLD_BEFORE:
                about = {"tokenId": key.id, "kind": "api_key", "name": key.name, "tokenPrefix": key.key_prefix}
                stream.publish(work, organization_id, "token.expiring", **about, expiresAt=format_instant(key.expires_at))
