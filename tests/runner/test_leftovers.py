"""What an earlier process left behind is settled, and nobody else's process is touched."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import psutil

from apviso.protocol.daemon import Finish, Job
from apviso.protocol.scan_events import Coverage, Log
from apviso.protocol.states import EndReason
from apviso.runner.leftovers import find_leftovers
from apviso.runner.records import AttemptFiles, ProcessMark
from apviso.runner.spool import Spool
from apviso.runner.workspace import Workspace
from tests.runner.conftest import StartDaemon, alive
from tests.runner.fake_control_plane import FakeControlPlane, FakeJob, job_body
from tests.runner.target_application import TargetApplication

NOW = datetime(2026, 5, 3, tzinfo=UTC)


def left_behind(workspace: Workspace, job: FakeJob, lines: int = 5) -> AttemptFiles:
    """The folders of an attempt as a killed process leaves them."""
    files = AttemptFiles.of(workspace, f"{job.id}.{job.attempt}")
    files.create(Job.model_validate(job.body), NOW)
    (files.work / "report.json").write_text("half a report")
    spool = Spool(files.spool)
    for number in range(lines):
        spool.append(Log(message=f"line {number}"), NOW)
    spool.close()
    return files


@asynccontextmanager
async def sleeper() -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", "import time; time.sleep(300)", start_new_session=True)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def test_leftover_without_an_end_is_uploaded_and_told_as_runner_lost(
    plane: FakeControlPlane, start_daemon: StartDaemon, workspace: Workspace
) -> None:
    job = FakeJob(job_body(), state="running")
    plane.jobs[job.id] = job
    files = left_behind(workspace, job)
    start_daemon()

    await plane.until(lambda: job.finish is not None and not files.spool.exists())

    assert job.finish is not None
    assert (job.finish["status"], job.finish["endReason"], job.finish["lastSeq"]) == ("failed", "runner_lost", 5)
    assert job.messages() == [f"line {number}" for number in range(5)]
    assert not files.work.exists()
    assert len(plane.job_calls(job, "start")) == 0


async def test_leftover_whose_end_was_known_is_told_with_that_very_end(
    plane: FakeControlPlane, start_daemon: StartDaemon, workspace: Workspace
) -> None:
    job = FakeJob(job_body(), state="running")
    plane.jobs[job.id] = job
    files = left_behind(workspace, job)
    files.note_finish(
        Finish(attempt=1, status="completed", end_reason=EndReason.COMPLETED, last_seq=5, coverage=Coverage(complete=True, reasons=[]))
    )
    start_daemon()

    await plane.until(lambda: job.finish is not None)

    assert job.finish is not None
    assert (job.finish["status"], job.finish["coverage"]["complete"]) == ("completed", True)


async def test_leftover_whose_lease_is_lost_is_only_cleaned_up(
    plane: FakeControlPlane, start_daemon: StartDaemon, workspace: Workspace
) -> None:
    job = FakeJob(job_body(), state="lost")
    plane.jobs[job.id] = job
    files = left_behind(workspace, job)
    daemon = start_daemon()

    await plane.until(lambda: len(plane.of("/jobs/claim")) >= 2)

    assert not files.spool.exists()
    assert plane.job_calls(job, "finish") == []
    assert daemon.daemon.roster.free_slots == 1


async def test_leftover_that_is_being_settled_holds_its_slot_and_is_reported(
    plane: FakeControlPlane, start_daemon: StartDaemon, workspace: Workspace
) -> None:
    from tests.runner.fake_control_plane import problem

    job = FakeJob(job_body(), state="running")
    plane.jobs[job.id] = job
    left_behind(workspace, job)
    plane.script("/jobs/job-1/events", *[problem(503, "overloaded", retryable=True)] * 2)
    start_daemon()

    await plane.until(lambda: bool(plane.of("/heartbeat") and plane.of("/jobs/claim")))

    assert plane.of("/heartbeat")[0].body["runningJobs"] == [{"jobId": "job-1", "attempt": 1}]
    assert plane.of("/jobs/claim")[0].body["freeSlots"] == 0
    await plane.until(lambda: job.finish is not None)
    await plane.until(lambda: plane.of("/jobs/claim")[-1].body["freeSlots"] == 1)


async def test_leftover_process_that_still_runs_is_ended_with_its_group(
    plane: FakeControlPlane, start_daemon: StartDaemon, workspace: Workspace
) -> None:
    job = FakeJob(job_body(), state="running")
    plane.jobs[job.id] = job
    files = left_behind(workspace, job)
    async with sleeper() as process:
        files.note_process(ProcessMark.of(process.pid, "scan"))
        start_daemon()

        await plane.until(lambda: job.finish is not None)

        assert alive([process.pid]) == []


async def test_leftover_process_number_that_belongs_to_somebody_else_is_left_alone(
    plane: FakeControlPlane, start_daemon: StartDaemon, workspace: Workspace
) -> None:
    job = FakeJob(job_body(), state="running")
    plane.jobs[job.id] = job
    files = left_behind(workspace, job)
    async with sleeper() as process:
        started = psutil.Process(process.pid).create_time()
        files.note_process(ProcessMark(pid=process.pid, started=started - 100, role="scan"))
        files.note_process(ProcessMark(pid=os.getpid(), started=1.0, role="scan"))
        start_daemon()

        await plane.until(lambda: job.finish is not None)

        assert alive([process.pid]) == [process.pid]


def test_leftover_folders_without_a_record_are_deleted(workspace: Workspace) -> None:
    (workspace.spool / "rubbish").mkdir()
    (workspace.jobs / "other").mkdir()
    (workspace.spool / "rubbish" / "000000000001.ndjson").write_text("")

    assert find_leftovers(workspace) == []
    assert [*workspace.spool.iterdir(), *workspace.jobs.iterdir()] == []


async def test_leftover_that_cannot_be_read_keeps_the_runner_from_nothing(
    plane: FakeControlPlane, start_daemon: StartDaemon, workspace: Workspace, application: TargetApplication
) -> None:
    broken = left_behind(workspace, FakeJob(job_body(), state="running"))
    (event_file,) = broken.spool.glob("*.ndjson")
    event_file.unlink()
    event_file.mkdir()
    job = FakeJob(job_body("job-2", scan_url=application.url))
    plane.jobs[job.id] = job
    start_daemon()

    await plane.until(lambda: job.finish is not None)

    assert job.finish is not None
    assert job.finish["status"] == "completed"
    assert broken.spool.exists()
