"""What the daemon last said of itself, for the people at the host: one small file, replaced whole, without secrets."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import structlog
from pydantic import ValidationError

from apviso import __version__
from apviso.protocol.states import AdminState, RunnerStatus
from apviso.protocol.wire import Instant, Wire
from apviso.runner.attempts import Attempt, Roster
from apviso.runner.private_files import write_private
from apviso.runner.pulse import Pulse

log = structlog.get_logger("apviso.runner.status")

WRITE_SECONDS = 1.0


class JobStatus(Wire):
    job_id: str
    attempt: int
    scan_id: str
    target: str
    phase: str
    stopping: str | None
    since: Instant


class DaemonStatus(Wire):
    """`ended` says how the daemon ended, null while it runs or after it was killed."""

    pid: int
    version: str
    api_url: str
    runner_id: str | None
    name: str | None
    started_at: Instant
    last_heartbeat_at: Instant | None
    status: RunnerStatus | None
    admin_state: AdminState
    not_accepting: str | None
    last_problem: str | None
    concurrency: int
    jobs: list[JobStatus]
    ended: str | None = None


def snapshot(pulse: Pulse, roster: Roster, *, api_url: str, name: str | None, started_at: datetime, ended: str | None) -> DaemonStatus:
    return DaemonStatus(
        pid=os.getpid(),
        version=__version__,
        api_url=api_url,
        runner_id=pulse.runner_id,
        name=name,
        started_at=started_at,
        last_heartbeat_at=pulse.heartbeat_at,
        status=pulse.status,
        admin_state=pulse.admin_state,
        not_accepting=pulse.not_accepting,
        last_problem=pulse.last_problem,
        concurrency=roster.concurrency,
        jobs=[_job(attempt) for attempt in roster.attempts],
        ended=ended,
    )


def _job(attempt: Attempt) -> JobStatus:
    return JobStatus(
        job_id=attempt.job_id,
        attempt=attempt.number,
        scan_id=attempt.job.scan.id,
        target=attempt.job.target.domain,
        phase=attempt.phase,
        stopping=attempt.stop,
        since=attempt.claimed_at,
    )


def write_status(path: Path, status: DaemonStatus) -> None:
    """A disk that is full costs the people at the host their view, not the runner its work."""
    try:
        write_private(path, status.model_dump_json(by_alias=True, indent=2) + "\n")
    except OSError as error:
        log.warning("status_not_written", reason=str(error))


async def keep_status(path: Path, take: Callable[[], DaemonStatus]) -> None:
    """Write the status whenever it has changed, until cancelled."""
    written: DaemonStatus | None = None
    while True:
        current = take()
        if current != written:
            write_status(path, current)
            written = current
        await asyncio.sleep(WRITE_SECONDS)


def find_status(path: Path) -> DaemonStatus | None:
    try:
        return DaemonStatus.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None
