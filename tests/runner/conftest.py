"""What runner tests stand on: the fake control plane, an application to scan, a workspace, a daemon in this process."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from apviso.protocol.timers import Timers
from apviso.runner.clock import Clock
from apviso.runner.config import Config
from apviso.runner.daemon import Daemon
from apviso.runner.identity import Identity
from apviso.runner.redaction import Redactor
from apviso.runner.shutdown import Outcome
from apviso.runner.workspace import Workspace
from tests.runner.fake_control_plane import FakeControlPlane, FakeJob, fake_control_plane
from tests.runner.target_application import TargetApplication, target_application

ENGINE_PROGRAM = (sys.executable, str(Path(__file__).with_name("engine_program.py")))


@pytest.fixture
async def plane() -> AsyncIterator[FakeControlPlane]:
    async with fake_control_plane() as plane:
        yield plane


@pytest.fixture
async def application() -> AsyncIterator[TargetApplication]:
    async with target_application() as application:
        yield application


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    workspace = Workspace(tmp_path / "workspace")
    workspace.prepare()
    return workspace


@dataclass
class RunningDaemon:
    daemon: Daemon
    task: asyncio.Task[Outcome]
    ended: list[str]

    async def outcome(self, seconds: float = 60.0) -> Outcome:
        return await asyncio.wait_for(asyncio.shield(self.task), seconds)

    async def stop(self) -> Outcome:
        self.daemon.stop.signal()
        return await self.outcome()


StartDaemon = Callable[..., RunningDaemon]


@pytest.fixture
async def start_daemon(plane: FakeControlPlane, workspace: Workspace) -> AsyncIterator[StartDaemon]:
    """A daemon with the fake engine program; settings by name. Whatever is left at the end of the test is aborted."""
    started: list[RunningDaemon] = []

    def start(
        clock: Clock | None = None, timers: Timers | None = None, environ: dict[str, str] | None = None, **settings: Any
    ) -> RunningDaemon:
        config = Config(**{"workspace": workspace.root, "scan_command": ENGINE_PROGRAM, "shutdown_grace_seconds": 0.0, **settings})
        ended: list[str] = []
        identity = Identity(plane.token, name="test-runner", api_url=plane.url)
        daemon = Daemon(
            config,
            workspace,
            identity,
            plane.url,
            environ or {},
            Redactor(),
            lambda: ended.append("ended"),
            clock or Clock(),
            timers or Timers(),
        )
        running = RunningDaemon(daemon, asyncio.ensure_future(daemon.run()), ended)
        started.append(running)
        return running

    yield start
    for running in started:
        running.daemon.stop.signal()
        running.daemon.stop.signal()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait_for(running.task, 30)


def pids_of(job: FakeJob) -> list[int]:
    """The scan's process and the one that it started outside its own group, as the fake engine program told them."""
    return [int(pid) for message in job.messages() if message.startswith("pids") for pid in message.split()[1:]]


def alive(pids: list[int]) -> list[int]:
    """Those that still run; a dead one that nobody has looked after yet does not."""
    running = {process.pid for process in psutil.process_iter(["status"]) if process.info["status"] != psutil.STATUS_ZOMBIE}
    return [pid for pid in pids if pid in running]
