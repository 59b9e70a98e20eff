"""Writes many heartbeats in one statement, in each database's own way; ten times as fast as a statement for each of them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import NamedTuple

from sqlalchemy.ext.asyncio import AsyncConnection

from apviso.protocol.wire import RunnerId


class Beats(NamedTuple):
    """What heartbeats change, column by column: of each runner one, in the order of their identities. `health` is JSON."""

    runner_id: list[RunnerId]
    boot_id: list[str | None]
    beat_seq: list[int]
    claim_poll_age_ms: list[int | None]
    health: list[str]
    at: list[datetime]


# A heartbeat of an older boot, an older heartbeat, and what was done to the runner since stay as they are; so does a later contact.
_POSTGRESQL = """
UPDATE runners AS kept
SET beat_seq = beat.seq, claim_poll_age_ms = beat.age, health = CAST(beat.health AS json),
    last_heartbeat_at = beat.at, last_contact_at = greatest(kept.last_contact_at, beat.at)
FROM unnest($1::varchar[], $2::varchar[], $3::bigint[], $4::bigint[], $5::text[], $6::timestamptz[])
    AS beat (id, boot, seq, age, health, at)
WHERE kept.id = beat.id AND kept.boot_id = beat.boot AND kept.beat_seq < beat.seq AND kept.revoked_at IS NULL AND kept.goodbye_at IS NULL
"""
# In the order of their identities, as everybody does who locks several runners; how the update joins is then the planner's affair.
_LOCKED = "SELECT count(*) FROM (SELECT id FROM runners WHERE id = ANY($1::varchar[]) ORDER BY id FOR NO KEY UPDATE) AS held"
_WITHOUT_ZONE = len("2026-05-03 09:15:32.000000")
_SQLITE = """
UPDATE runners
SET beat_seq = ?3, claim_poll_age_ms = ?4, health = ?5, last_heartbeat_at = ?6, last_contact_at = max(coalesce(last_contact_at, ?6), ?6)
WHERE id = ?1 AND boot_id = ?2 AND beat_seq < ?3 AND revoked_at IS NULL AND goodbye_at IS NULL
"""


async def write(connection: AsyncConnection, beats: Beats) -> None:
    if connection.dialect.name == "postgresql":
        await connection.exec_driver_sql(_LOCKED, (beats.runner_id,))
        await connection.exec_driver_sql(_POSTGRESQL, tuple(beats))
    else:
        at = [_as_kept(moment) for moment in beats.at]
        await connection.exec_driver_sql(_SQLITE, list(zip(*beats[:-1], at, strict=True)))


def _as_kept(moment: datetime) -> str:
    """As SQLite has it from every other statement."""
    in_utc = moment if moment.tzinfo is UTC else moment.astimezone(UTC)
    return in_utc.isoformat(" ", "microseconds")[:_WITHOUT_ZONE]
