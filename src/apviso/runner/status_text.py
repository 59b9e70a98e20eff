"""The daemon's status in words, for a terminal."""

from __future__ import annotations

from apviso.protocol.wire import format_instant
from apviso.runner.status_file import DaemonStatus, JobStatus
from apviso.runner.terminal import printable


def status_lines(status: DaemonStatus, *, running: bool) -> list[str]:
    """One fact on each line; `running` is whether the process is there now, which the file cannot know."""
    name = status.name or status.runner_id or "runner"
    if running:
        state = f"{name} is running (process {status.pid}, version {status.version}), {status.admin_state}"
    else:
        state = f"{name} is not running ({status.ended or 'it was killed'})"
    seen = format_instant(status.last_heartbeat_at) if status.last_heartbeat_at else "never"
    lines = [state, f"control plane: {status.api_url}, last heartbeat accepted: {seen}, seen there as {status.status or 'unknown'}"]
    if status.last_problem:
        lines.append(f"last problem: {status.last_problem}")
    if status.not_accepting:
        lines.append(f"no new scans: {status.not_accepting}")
    lines.append(f"scans: {len(status.jobs)} of {status.concurrency}")
    return [printable(line) for line in (*lines, *(_job_line(job) for job in status.jobs))]


def _job_line(job: JobStatus) -> str:
    stopping = f", stopping ({job.stopping})" if job.stopping else ""
    return f"  {job.job_id} attempt {job.attempt}: {job.target}, {job.phase}{stopping}, since {format_instant(job.since)}"
