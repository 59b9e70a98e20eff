"""The same engine, with Podman behind the socket: what it does otherwise must make no difference to a scan."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import docker
import pytest

from apviso.runner.conformance.checks import Outcome, judge_trials
from apviso.runner.conformance.situations import Situation
from apviso.runner.conformance.trial import Stand, run_trial
from apviso.runner.engines import ScanExit, Spoken, containers
from apviso.runner.engines.api import EngineSocket
from apviso.runner.engines.container_engine import ContainerEngine
from tests.containers.contract_programs import GOOD
from tests.containers.private_engine import PrivateEngine, build_scan_image
from tests.containers.private_podman import missing_parts, podman_service
from tests.containers.running import INSTALLATION, run, said, start, until_said
from tests.containers.test_endings import WAITING
from tests.containers.test_inside import LOOK_AROUND, check_reach

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def podman(scanners_dir: Path) -> Iterator[PrivateEngine]:
    lacking = missing_parts()
    if lacking and "CI" not in os.environ:
        pytest.skip(f"no Podman service can be started here; missing: {', '.join(lacking)}")
    assert not lacking, f"CI must start Podman, and lacks {', '.join(lacking)}"
    with podman_service() as (socket_file, pid), closing(docker.DockerClient(f"unix://{socket_file}", timeout=120)) as client:
        yield PrivateEngine(socket_file, client, build_scan_image(socket_file, scanners_dir), pid)


def engine_for(podman: PrivateEngine, program: str) -> ContainerEngine:
    return ContainerEngine("podman", podman.socket_file, podman.image_of(program), INSTALLATION)


async def test_podman_gives_output_and_exit_code_of_a_scan_and_keeps_nothing(podman: PrivateEngine, tmp_path: Path) -> None:
    program = "import sys\nsys.stdin.readline()\nprint('out')\nprint('error', file=sys.stderr)\nsys.exit(7)"

    ended, lines = await run(engine_for(podman, program), tmp_path)

    assert ended == ScanExit(7)
    assert sorted((line.text, line.error) for line in lines if isinstance(line, Spoken)) == [(b"error", True), (b"out", False)]
    assert podman.containers() == []


async def test_podman_gives_a_scan_no_more_than_docker_does(podman: PrivateEngine, tmp_path: Path) -> None:
    ended, lines = await run(engine_for(podman, LOOK_AROUND), tmp_path)

    seen = json.loads(said(lines)[-1])
    assert ended == ScanExit(0)
    assert (seen["ids"], seen["capabilities"]) == ([containers.USER] * 3, [0] * 5)
    assert (seen["noNewPrivileges"], seen["seccomp"], seen["interfaces"]) == ("1", "2", ["lo"])
    assert (seen["root"], seen["guardFolder"], seen["full"]) == ("EROFS", "EROFS", "ENOSPC")
    assert seen["written"] is None
    assert (seen["memory"], seen["pids"]) == (containers.MEMORY_BYTES, containers.PROCESSES)
    assert (seen["processes"], seen["sockets"]) == ([1], [])


async def test_podman_lets_a_scan_reach_the_guard_and_nothing_else(podman: PrivateEngine, tmp_path: Path) -> None:
    await check_reach(podman, tmp_path)


async def test_podman_ends_a_scan_that_is_stopped(podman: PrivateEngine, tmp_path: Path) -> None:
    scan, lines = await start(engine_for(podman, WAITING + "signal.signal(signal.SIGTERM, signal.SIG_IGN)\nsignal.pause()"), tmp_path)
    await until_said(lines, "waiting")

    await asyncio.wait_for(scan.stop(1), 30)

    assert (await scan.wait()).code == 128 + signal.SIGKILL
    assert podman.containers() == []


async def test_podman_finds_an_image_by_tag_and_by_id(podman: PrivateEngine) -> None:
    engine = EngineSocket(podman.socket_file)

    found = [await engine.find_named(name) for name in ("apviso-scan:test", podman.image, "apviso-scan-of-nobody")]

    assert found == [podman.image, podman.image, None]


async def test_podman_is_told_with_what_it_does_not_tell(podman: PrivateEngine) -> None:
    engine = ContainerEngine("podman", podman.socket_file, podman.image, INSTALLATION)

    problem = await engine.problem()

    assert problem is None
    assert engine.describe()["name"] == "podman"
    assert "memory ran out" in str(engine.describe()["limits"])


@pytest.mark.parametrize("situation", [Situation.ORDINARY, Situation.TERMINATED, Situation.INPUT_ENDS])
async def test_podman_shows_an_image_that_keeps_the_contract_as_such(
    podman: PrivateEngine, scanners_dir: Path, tmp_path: Path, situation: Situation
) -> None:
    engine = engine_for(podman, GOOD)
    stand = Stand(engine, await engine.prepare(None), scanners_dir, tmp_path)

    found = judge_trials({situation: await run_trial(stand, situation)})

    assert {check.code for check in found if check.outcome in (Outcome.FAILED, Outcome.WARNING)} == set()
    assert podman.containers() == []
