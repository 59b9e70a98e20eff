"""Decides whether a runner has answered a roll call, and what it runs that the records do not know. Pure."""

from __future__ import annotations

from collections.abc import Collection

from apviso.protocol.daemon import Heartbeat
from apviso.protocol.wire import JobId


def unknown_jobs(beat: Heartbeat, held: Collection[tuple[JobId, int]]) -> list[JobId]:
    """The jobs that the runner runs in an attempt that is none of `held`: it has to stop them, whoever gave them to it."""
    return [JobId(job.job_id) for job in beat.running_jobs if (job.job_id, job.attempt) not in held]


def has_answered(beat: Heartbeat, held: Collection[tuple[JobId, int]]) -> bool:
    """Whether nothing that the runner runs is unknown. One that counts more jobs than it names has not told everything."""
    return not unknown_jobs(beat, held) and beat.current_jobs <= len(beat.running_jobs)
