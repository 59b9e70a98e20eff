"""All SQL of a clock that was set: moves the moments that waits are counted from, so that each takes as long as it should."""

from __future__ import annotations

from datetime import timedelta
from typing import cast

from sqlalchemy import ColumnElement, Table, and_, bindparam, select

from apviso.protocol.states import LEASED_STATUSES, ScanStatus
from apviso.server.db.engine import Work
from apviso.server.db.schema import AttemptRow, RunnerRow, ScanRow

_OF_LIVE_ATTEMPTS = ("assigned_at", "heard_at", "renewed_at", "lease_expires_at", "started_at")


async def move(work: Work, step: timedelta) -> None:
    """Leases, silences, delays and cancels: whatever keeps two attempts apart or ends one. `work.now` is the time before the step."""
    # Set back, a clock makes moments of the last hour lie ahead again.
    earliest = min(work.now, work.now + step)
    is_waiting = and_(ScanRow.status == ScanStatus.PENDING_RUNNER, ScanRow.not_before > earliest)
    is_to_stop = and_(ScanRow.status.in_(LEASED_STATUSES), ScanRow.cancel_requested_at.is_not(None))
    await _move(work, AttemptRow, AttemptRow.ended_at.is_(None), _OF_LIVE_ATTEMPTS, step)
    await _move(work, AttemptRow, AttemptRow.silent_at > earliest, ("silent_at",), step)
    await _move(work, RunnerRow, RunnerRow.last_contact_at > earliest, ("last_contact_at", "last_heartbeat_at"), step)
    await _move(work, RunnerRow, RunnerRow.roll_call_until > earliest, ("roll_call_until",), step)
    await _move(work, ScanRow, is_waiting, ("not_before",), step)
    await _move(work, ScanRow, is_to_stop, ("cancel_requested_at",), step)


async def _move(
    work: Work,
    rows: type[AttemptRow] | type[RunnerRow] | type[ScanRow],
    where: ColumnElement[bool],
    names: tuple[str, ...],
    step: timedelta,
) -> None:
    table = cast(Table, rows.__table__)
    keys = list(table.primary_key.columns)
    found = await work.db.execute(select(*keys, *(table.c[name] for name in names)).where(where).with_for_update())
    moved = [
        {
            **{f"of_{key.name}": row[key.name] for key in keys},
            **{f"to_{name}": row[name] and row[name] + step for name in names},
        }
        for row in found.mappings()
    ]
    if moved:
        change = table.update().where(*(key == bindparam(f"of_{key.name}") for key in keys))
        await work.db.execute(change.values({name: bindparam(f"to_{name}") for name in names}), moved)
