"""The daemon as a real process: signals, kill -9, the lock, the local status and logs."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from apviso.protocol.tokens import Namespace, new_token
from apviso.runner.identity import Identity, store
from apviso.runner.retrying import pause
from apviso.runner.workspace import Workspace
from tests.runner.conftest import ENGINE_PROGRAM, alive, pids_of
from tests.runner.fake_control_plane import FakeControlPlane, FakeJob, job_body
from tests.runner.target_application import TargetApplication
from tests.runner.test_enrollment import apviso

pytestmark = pytest.mark.slow


@asynccontextmanager
async def daemon(plane: FakeControlPlane, workspace: Workspace, **settings: object) -> AsyncIterator[asyncio.subprocess.Process]:
    lines = {"scan_command": list(ENGINE_PROGRAM), "shutdown_grace_seconds": 0.0, **settings}
    workspace.config_file.write_text("".join(f"{name} = {json.dumps(value)}\n" for name, value in lines.items()))
    environ = {"PATH": os.environ["PATH"], "APVISO_RUNNER_WORKSPACE": str(workspace.root), "APVISO_API_URL": plane.url}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        "from apviso.cli import main; main()",
        "run",
        env={**environ, "APVISO_RUNNER_TOKEN": plane.token.reveal(), "HOME": str(workspace.root)},
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
        await process.wait()


async def running_job(plane: FakeControlPlane, application: TargetApplication, domain: str) -> FakeJob:
    job = await plane.add_job(FakeJob(job_body(scan_url=application.url, domain=domain)))
    await plane.until(lambda: bool(pids_of(job)), 30)
    return job


async def ended(process: asyncio.subprocess.Process, seconds: float = 30) -> int:
    return await asyncio.wait_for(process.wait(), seconds)


async def until_dead(pids: list[int], seconds: float = 10) -> None:
    async with asyncio.timeout(seconds):
        while alive(pids):
            await pause(asyncio.Event(), 0.02)


async def test_sigterm_gives_the_running_scan_back_says_goodbye_and_ends_with_0(
    plane: FakeControlPlane, workspace: Workspace, application: TargetApplication
) -> None:
    async with daemon(plane, workspace) as process:
        job = await running_job(plane, application, "lingers.localhost")

        process.terminate()
        code = await ended(process)

    assert code == 0
    assert job.finish is not None
    assert (job.finish["status"], job.finish["endReason"]) == ("failed", "runner_shutdown")
    assert [call.path for call in plane.calls][-1] == "/goodbye"
    assert alive(pids_of(job)) == []


async def test_sigterm_lets_a_scan_finish_that_ends_within_the_grace(
    plane: FakeControlPlane, workspace: Workspace, application: TargetApplication
) -> None:
    async with daemon(plane, workspace, shutdown_grace_seconds=20) as process:
        job = await plane.add_job(FakeJob(job_body(scan_url=application.url, domain="brief.localhost")))
        await plane.until(lambda: any(event["type"] == "progress" for event in job.events.values()), 30)
        claims = len(plane.of("/jobs/claim"))

        process.terminate()
        code = await ended(process)

    assert code == 0
    assert job.finish is not None
    assert job.finish["status"] == "completed"
    assert len(plane.of("/jobs/claim")) == claims


async def test_second_signal_aborts_at_once_and_leaves_no_scan_behind(
    plane: FakeControlPlane, workspace: Workspace, application: TargetApplication
) -> None:
    async with daemon(plane, workspace, shutdown_grace_seconds=300) as process:
        job = await running_job(plane, application, "stubborn.localhost")
        process.terminate()
        await plane.until(lambda: "let_scans_finish" in workspace.log_file.read_text())

        process.send_signal(signal.SIGINT)
        code = await ended(process, 15)

    assert code == 130
    await until_dead(pids_of(job))
    assert plane.of("/goodbye") == []
    assert len(list(workspace.spool.iterdir())) == 1


async def test_kill_9_ends_the_scan_too_and_the_next_process_settles_it_without_losing_an_event(
    plane: FakeControlPlane, workspace: Workspace, application: TargetApplication
) -> None:
    async with daemon(plane, workspace) as process:
        job = await running_job(plane, application, "slow.localhost")
        await plane.until(lambda: job.last_seq > 50)
        process.kill()
        await ended(process)
    await until_dead(pids_of(job))
    before = job.last_seq

    async with daemon(plane, workspace) as process:
        await plane.until(lambda: job.finish is not None, 30)
        process.terminate()
        await ended(process)

    assert job.finish is not None
    assert (job.finish["endReason"], job.finish["lastSeq"]) == ("runner_lost", job.last_seq)
    assert job.last_seq >= before
    lines = [int(message.split()[1]) for message in job.messages() if message.startswith("line ")]
    assert lines == list(range(len(lines)))
    assert list(job.events) == list(range(1, job.last_seq + 1))
    assert list(workspace.spool.iterdir()) == []


async def test_revoked_runner_stops_its_scan_and_ends_with_78(
    plane: FakeControlPlane, workspace: Workspace, application: TargetApplication
) -> None:
    async with daemon(plane, workspace) as process:
        job = await running_job(plane, application, "slow.localhost")

        plane.revoke()
        code = await ended(process)

    assert code == 78
    await until_dead(pids_of(job))
    assert job.finish is None
    assert plane.of("/goodbye") == []
    assert list(workspace.spool.iterdir()) == []


async def test_runner_that_a_restored_control_plane_does_not_know_kills_its_scan_and_ends_with_77(
    plane: FakeControlPlane, workspace: Workspace, application: TargetApplication
) -> None:
    async with daemon(plane, workspace) as process:
        job = await running_job(plane, application, "slow.localhost")

        plane.token = new_token(Namespace.RUNNER)
        code = await ended(process)

    assert code == 77
    await until_dead(pids_of(job))
    assert job.finish is None


async def test_runner_that_was_enrolled_for_one_scan_ends_with_0_after_it_and_leaves_nothing(
    plane: FakeControlPlane, workspace: Workspace, application: TargetApplication
) -> None:
    store(workspace, Identity(plane.token))
    async with daemon(plane, workspace) as process:
        job = await plane.add_job(FakeJob(job_body(scan_url=application.url)))
        await plane.until(lambda: job.finish is not None, 30)

        plane.revoke(retired=True)
        code = await ended(process)

    assert code == 0
    assert not workspace.identity_file.exists()
    assert list(workspace.spool.iterdir()) == list(workspace.jobs.iterdir()) == []
    assert [call.path for call in plane.calls].count(f"/jobs/{job.id}/start") == 1


async def test_runner_with_an_unknown_token_ends_with_77(plane: FakeControlPlane, workspace: Workspace) -> None:
    stale = new_token(Namespace.RUNNER)

    ran = await apviso("run", workspace=workspace, APVISO_API_URL=plane.url, APVISO_RUNNER_TOKEN=stale.reveal())

    assert ran.code == 77


async def test_second_daemon_in_one_workspace_is_refused_and_names_the_first(plane: FakeControlPlane, workspace: Workspace) -> None:
    async with daemon(plane, workspace) as process:
        await plane.until(lambda: bool(plane.of("/heartbeat")), 30)

        ran = await apviso("run", workspace=workspace, APVISO_API_URL=plane.url, APVISO_RUNNER_TOKEN=plane.token.reveal())

    assert (ran.code, str(process.pid) in ran.err) == (78, True)


async def test_daemon_that_starts_before_its_control_plane_waits_for_it(plane: FakeControlPlane, workspace: Workspace) -> None:
    plane.reachable = False
    async with daemon(plane, workspace) as process:
        await plane.until_connected(3)
        plane.reachable = True

        await plane.until(lambda: bool(plane.of("/heartbeat")), 30)

        assert process.returncode is None


async def test_status_and_logs_tell_what_the_daemon_does(
    plane: FakeControlPlane, workspace: Workspace, application: TargetApplication
) -> None:
    plane.heartbeat_interval_ms = 300
    async with daemon(plane, workspace) as process:
        job = await running_job(plane, application, "slow.localhost")
        beats = len(plane.of("/heartbeat"))
        await plane.until(lambda: len(plane.of("/heartbeat")) > beats + 5)

        status = await apviso("status", "--json", workspace=workspace)
        words = await apviso("status", workspace=workspace)
        own = await apviso("logs", workspace=workspace)
        of_job = await apviso("logs", job.id, workspace=workspace)
        process.terminate()
        await ended(process)
    after = await apviso("status", workspace=workspace)

    told = json.loads(status.out)
    assert (status.code, told["running"], told["daemon"]["pid"]) == (0, True, process.pid)
    assert [one["jobId"] for one in told["daemon"]["jobs"]] == [job.id]
    assert "slow.localhost" in words.out
    assert "attempt_claimed" in own.out
    # The latest of its lines: how many there are by now depends on the machine.
    assert re.search(r"message=line \d+$", of_job.out, re.MULTILINE)
    assert (after.code, "not running (stopped)" in after.out) == (2, True)
    assert plane.token.secret not in status.out + own.out + of_job.out + workspace.status_file.read_text()


async def test_logs_that_are_followed_show_new_lines_as_they_come(
    plane: FakeControlPlane, workspace: Workspace, application: TargetApplication
) -> None:
    async with daemon(plane, workspace):
        job = await running_job(plane, application, "slow.localhost")
        following = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            "from apviso.cli import main; main()",
            "logs",
            job.id,
            "--follow",
            env={"PATH": os.environ["PATH"], "APVISO_RUNNER_WORKSPACE": str(workspace.root), "PYTHONUNBUFFERED": "1"},
            stdout=asyncio.subprocess.PIPE,
        )
        assert following.stdout is not None
        seen = b""
        goal = f"line {job.last_seq + 100}\n".encode()
        async with asyncio.timeout(30):
            while goal not in seen:
                seen += await following.stdout.readline()
        following.kill()
        await following.wait()

    assert seen.count(goal) == 1


@pytest.mark.parametrize("token", ["nonsense", "apvk_0123456789ab_secret", "apvr_"])
async def test_run_with_something_else_as_its_token_exits_as_with_a_bad_credential(workspace: Workspace, token: str) -> None:
    ran = await apviso("run", workspace=workspace, APVISO_API_URL="http://127.0.0.1:9", APVISO_RUNNER_TOKEN=token)

    assert ran.code == 77
    assert "APVISO_RUNNER_TOKEN" in ran.err
    assert "secret" not in ran.err
