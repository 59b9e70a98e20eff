"""The roll call: where nothing proves that the records are complete, as after a restored backup, runners say first what they run.

Until then no scan is handed out. Who has not answered is kept with the runner, so that all processes, and the next one after a restart,
wait for the same ones."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timedelta

import structlog
from sqlalchemy import and_, func, or_, select, update

from apviso.protocol.timers import Timers
from apviso.protocol.wire import OrganizationId
from apviso.server.db.engine import Database, Work
from apviso.server.db.schema import RunnerRow

log = structlog.get_logger("apviso.roll_call")
# Whoever was away for longer has hardly come back just then, and a host that is gone for good must not be waited for each time.
WAITED_FOR = timedelta(days=1)
# How long after its end a roll call is still looked for: the timed duty has to end it.
LOOKED_FOR_SECONDS = 60.0
# Whoever never called may have done so since.
_LAST_KNOWN_AT = func.coalesce(RunnerRow.last_contact_at, RunnerRow.created_at)


def proves_completeness(newest: datetime, now: datetime, timers: Timers) -> bool:
    """Whether records that end with the contact `newest` hold everything that a runner may be doing `now`.

    A control plane that was away no longer than an attempt may go on without it has its own records still. Longer ago than that, they may
    be those of another time, and only the runners know; a contact that lies ahead says that the clock cannot tell.
    """
    return abs(now - newest) <= timers.stale_end_after


class RollCall:
    """Knows when none can be under way, so that claims need not ask. `monotonic` is in seconds."""

    def __init__(self, database: Database, timers: Timers, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._timers = timers
        self._monotonic = monotonic
        self._looked_for_until: float | None = None

    @property
    def may_be_on(self) -> bool:
        return self._looked_for_until is not None and self._monotonic() < self._looked_for_until

    async def join(self, is_first: bool) -> None:
        """To be called before anything is handed out. `is_first`: no other process has been there just now."""

        async def unit() -> None:
            async with self._database.writing() as work:
                if is_first:
                    await _begin_unless_proved(work, self._timers)
                until = await work.db.scalar(select(func.max(RunnerRow.roll_call_until)))
                # By a clock that nobody sets: when it is over is asked of the database.
                left = 0.0 if until is None else max(0.0, (until - work.now).total_seconds()) + LOOKED_FOR_SECONDS
                self._looked_for_until = None if until is None else self._monotonic() + left

        await self._database.again(unit)

    async def until(self, work: Work, organization_id: OrganizationId) -> datetime | None:
        """How long no scan of the organization is handed out, at the latest; None where every runner has answered."""
        if not self.may_be_on:
            return None
        latest = select(func.max(RunnerRow.roll_call_until))
        return await work.db.scalar(latest.where(RunnerRow.organization_id == organization_id, RunnerRow.roll_call_until > work.now))


async def _begin_unless_proved(work: Work, timers: Timers) -> None:
    newest = await work.db.scalar(select(func.max(_LAST_KNOWN_AT)))
    if newest is None or proves_completeness(newest, work.now, timers):
        return
    # Each attempt of the time before has ended itself by then, whether or not its runner can be reached.
    until = work.now + timers.stale_end_after
    is_new = or_(RunnerRow.roll_call_until.is_(None), RunnerRow.roll_call_until <= work.now)
    may_run = and_(RunnerRow.revoked_at.is_(None), newest - WAITED_FOR <= _LAST_KNOWN_AT)
    won = await work.db.execute(update(RunnerRow).where(may_run, is_new).values(roll_call_until=until))
    seconds = round((work.now - newest).total_seconds())
    log.warning("records may be old: runners have to say what they run", last_contact_seconds=seconds, runners=won.rowcount)


async def end_what_is_over(work: Work) -> list[tuple[OrganizationId, int]]:
    """Whoever has not answered by now is waited for no longer; the organizations, with how many of their runners."""
    rows = await work.db.execute(
        update(RunnerRow)
        .where(RunnerRow.roll_call_until <= work.now)
        .values(roll_call_until=None)
        .returning(RunnerRow.organization_id, RunnerRow.id)
    )
    counted: dict[OrganizationId, int] = {}
    for row in rows:
        work.touched.add((row.organization_id, row.id))
        counted[row.organization_id] = counted.get(row.organization_id, 0) + 1
    return list(counted.items())
