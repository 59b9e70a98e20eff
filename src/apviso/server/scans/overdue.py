"""The conditions of the scans' timers: of which scans one may have run out. `lifecycle.due` judges each of them."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ColumnElement, and_, func, literal_column, or_

from apviso.protocol.states import ScanStatus
from apviso.protocol.timers import Timers
from apviso.server.db.moments import Moment
from apviso.server.db.schema import AttemptRow, ScanRow

# As it is written in the indexes, which only constants are compared with.
_IS_QUEUED = ScanRow.status == literal_column(f"'{ScanStatus.PENDING_RUNNER}'")
_IS_LEASED = ScanRow.status.in_([literal_column(f"'{status}'") for status in (ScanStatus.ASSIGNED, ScanStatus.RUNNING, ScanStatus.STALE)])


def may_wait_too_long(now: Moment, timers: Timers) -> ColumnElement[bool]:
    """Whoever waits for the next attempt was asked for before that: the time of asking is never too late a bound."""
    return and_(_IS_QUEUED, ScanRow.created_at <= now - timers.queue_timeout)


def may_have_run_out(now: Moment, amnesty_until: datetime, timers: Timers) -> ColumnElement[bool]:
    """Of a scan and the attempt that holds its lease."""
    return and_(_IS_LEASED, AttemptRow.ended_at.is_(None), _has_run_out(now, amnesty_until, timers))


def _has_run_out(now: Moment, amnesty_until: datetime, timers: Timers) -> ColumnElement[bool]:
    is_ignored = ScanRow.cancel_requested_at <= now - timers.cancel_forced_after
    if now < amnesty_until:
        return is_ignored
    began = func.coalesce(AttemptRow.started_at, AttemptRow.assigned_at)
    return or_(
        is_ignored,
        and_(ScanRow.status == ScanStatus.ASSIGNED, AttemptRow.heard_at <= now - timers.assigned_silent_after),
        and_(ScanRow.status == ScanStatus.RUNNING, AttemptRow.lease_expires_at <= now),
        AttemptRow.renewed_at <= now - timers.stale_end_after,
        and_(ScanRow.cancel_requested_at.is_(None), began <= now - timers.run_timeout),
    )
