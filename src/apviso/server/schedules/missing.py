"""Decides what becomes of the runs that are due: which one is started, and why the others are not. Pure."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from datetime import datetime, timedelta

from apviso.protocol.schedules import IfMissed
from apviso.server.schedules.timing import Timing, upcoming

SERVER_DOWN, CAUGHT_UP_LATER = "server_down", "caught_up_later"
_TELLING = {
    SERVER_DOWN: "The server did not run, or could not reach its database, when this run was due.",
    CAUGHT_UP_LATER: "Nobody could start this run when it was due; a later one takes the place of all that were missed.",
}
# How often somebody tries to start a run that could not be started when it was due.
TRY_EVERY = timedelta(minutes=1)
TO_BE_CAUGHT_UP = "It is caught up once that is over, unless the next run comes first."
# A server that slept longer does not account for each run before that.
LOOKED_BACK = timedelta(days=31)
# Runs of one schedule that are accounted for at once.
MOST_TOLD = 100


@dataclass(frozen=True)
class DueRun:
    """`reason_code` is set for one that is not to be started."""

    at: datetime
    is_late: bool = False
    reason_code: str | None = None
    reason: str = ""


@dataclass(frozen=True)
class Plan:
    """Oldest first; only the last may be one to start. `next_at`: when the schedule is due again."""

    runs: list[DueRun]
    next_at: datetime | None


def plan(timing: Timing, first_due: datetime, now: datetime, grace: timedelta, if_missed: IfMissed) -> Plan:
    """`first_due` is not later than `now`. However many were missed, at most one is started: the latest."""
    due, next_at, untold = deque([first_due], MOST_TOLD), None, 0
    for moment in upcoming(timing, max(first_due, now - LOOKED_BACK)):
        if moment > now:
            next_at = moment
            break
        untold += len(due) == MOST_TOLD
        due.append(moment)
    latest = due.pop()
    is_late = now - latest > grace
    is_started = not is_late or if_missed is IfMissed.CATCH_UP
    code = CAUGHT_UP_LATER if is_started and if_missed is IfMissed.CATCH_UP else SERVER_DOWN
    runs = [DueRun(moment, True, code, _TELLING[code]) for moment in due]
    runs.append(DueRun(latest, is_late) if is_started else DueRun(latest, True, SERVER_DOWN, _TELLING[SERVER_DOWN]))
    if untold:
        oldest = runs[0]
        runs[0] = DueRun(oldest.at, True, oldest.reason_code, f"{oldest.reason} So it was with {untold} runs before it.")
    return Plan(runs, next_at)
