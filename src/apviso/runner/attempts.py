"""The attempts under way on this runner: what each one is, why it was told to stop, and how many more fit."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from apviso.protocol.daemon import Job, RunningJob
from apviso.protocol.wire import JobId

_MOST_REMEMBERED_CANCELS = 1000


class Stop(StrEnum):
    """Why an attempt ends before its scan does."""

    CANCELLED = "cancelled"
    LEASE_EXPIRED = "lease_expired"
    LEASE_LOST = "lease_lost"
    SHUTDOWN = "shutdown"
    DRAINED = "drained"
    REVOKED = "revoked"
    TIMED_OUT = "timed_out"
    SPOOL_FULL = "spool_full"
    FLOODED = "flooded"
    GUARD_DIED = "guard_died"


# After these nothing more may be sent for the attempt, so they outrank any earlier reason.
SILENCING = frozenset({Stop.LEASE_LOST, Stop.REVOKED})


@dataclass(eq=False)
class Attempt:
    """One claimed attempt. `lease_sent` is the boot time at which the last accepted renewal (first: the claim) was sent."""

    job: Job
    lease_sent: float
    claimed_at: datetime
    phase: str = "claimed"
    stop: Stop | None = None
    stopping: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def job_id(self) -> JobId:
        return self.job.job.id

    @property
    def number(self) -> int:
        return self.job.job.attempt

    @property
    def key(self) -> str:
        """A name for files and logs."""
        return f"{self.job_id}.{self.number}"

    @property
    def is_silenced(self) -> bool:
        return self.stop in SILENCING

    def halt(self, why: Stop) -> bool:
        """Tell the attempt to stop; the first reason stays unless the new one silences. Tells whether this one counts."""
        if self.stop is not None and (self.stop in SILENCING or why not in SILENCING):
            return False
        self.stop = why
        self.stopping.set()
        return True


class Roster:
    """Attempts under way and leftovers being settled; both hold a slot. Used from the event loop only."""

    def __init__(self, concurrency: int) -> None:
        self.concurrency = concurrency
        self.slot_freed = asyncio.Event()
        self.emptied = asyncio.Event()
        self.emptied.set()
        self._attempts: dict[str, Attempt] = {}
        self._leftovers: dict[str, RunningJob] = {}
        self._cancels: dict[str, None] = {}

    @property
    def attempts(self) -> list[Attempt]:
        return list(self._attempts.values())

    @property
    def free_slots(self) -> int:
        return max(0, self.concurrency - len(self._attempts) - len(self._leftovers))

    @property
    def known_cancels(self) -> list[str]:
        return list(self._cancels)

    def running_jobs(self) -> list[RunningJob]:
        """Also those that lost their lease, until their scans are dead: the control plane may be about to let others at the target."""
        ours = [RunningJob(job_id=attempt.job_id, attempt=attempt.number) for attempt in self.attempts]
        return [*ours, *self._leftovers.values()]

    def has(self, attempt: Attempt) -> bool:
        return attempt.key in self._attempts

    def add(self, attempt: Attempt) -> bool:
        """False where the same attempt is under way already: an answer that was asked for twice."""
        if self.has(attempt):
            return False
        self._attempts[attempt.key] = attempt
        self.emptied.clear()
        if attempt.job_id in self._cancels:
            attempt.halt(Stop.CANCELLED)
        return True

    def remove(self, attempt: Attempt) -> None:
        self._attempts.pop(attempt.key, None)
        self._freed()

    def add_leftover(self, key: str, job_id: str, number: int) -> None:
        self._leftovers[key] = RunningJob(job_id=job_id, attempt=number)

    def remove_leftover(self, key: str) -> None:
        self._leftovers.pop(key, None)
        self._freed()

    def _freed(self) -> None:
        self.slot_freed.set()
        if not self._attempts:
            self.emptied.set()

    def cancel(self, job_ids: Iterable[str]) -> list[Attempt]:
        """Stop the named jobs' attempts; answers those that were told just now. The names are remembered for the next claim."""
        named = list(job_ids)
        for job_id in named:
            self._cancels.pop(job_id, None)
            self._cancels[job_id] = None
        while len(self._cancels) > _MOST_REMEMBERED_CANCELS:
            self._cancels.pop(next(iter(self._cancels)))
        return [attempt for attempt in self.attempts if attempt.job_id in named and attempt.halt(Stop.CANCELLED)]

    def halt_all(self, why: Stop) -> None:
        for attempt in self.attempts:
            attempt.halt(why)
