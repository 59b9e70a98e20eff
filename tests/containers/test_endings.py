"""How a scan in a container ends, and what is left then: nothing."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import docker
import pytest

from apviso.protocol.daemon import ScanImage
from apviso.protocol.states import EndReason
from apviso.runner.engines import EngineFailed, ScanExit, Spoken
from apviso.runner.engines.container_engine import ContainerEngine
from apviso.runner.engines.containers import INSTALLATION as LABEL
from apviso.runner.engines.signatures import Trust
from tests.containers.private_engine import PrivateEngine, engine_process, missing_parts
from tests.containers.running import INSTALLATION, engine_for, run, said, start, until_said

pytestmark = pytest.mark.slow
WAITING = "import signal, sys\nsys.stdin.readline()\nprint('waiting', flush=True)\n"


async def test_output_of_both_streams_arrives_with_the_exit_code(engine_here: PrivateEngine, tmp_path: Path) -> None:
    program = "import sys\nsys.stdin.readline()\nprint('out')\nprint('error', file=sys.stderr)\nprint('last', end='')\nsys.exit(7)"

    ended, lines = await run(engine_for(engine_here, program), tmp_path)

    assert ended == ScanExit(7)
    assert said(lines) == ["out", "last"]
    assert [line.text for line in lines if isinstance(line, Spoken) and line.error] == [b"error"]
    assert engine_here.containers() == []
    assert not (tmp_path / "guard" / "proxy.sock").exists()


async def test_scan_that_takes_too_much_memory_ends_as_out_of_memory(engine_here: PrivateEngine, tmp_path: Path) -> None:
    program = "import sys\nsys.stdin.readline()\nkept = []\nwhile True:\n    kept.append(b'x' * (64 * 1024 * 1024))"

    ended, _ = await run(engine_for(engine_here, program), tmp_path)

    assert (ended.out_of_memory, ended.code) == (True, 128 + signal.SIGKILL)


async def test_scan_that_heeds_the_stop_ends_in_its_own_way(engine_here: PrivateEngine, tmp_path: Path) -> None:
    heeding = "signal.signal(signal.SIGTERM, lambda *_: (print('stopped', flush=True), sys.exit(3)))\nsignal.pause()"
    scan, lines = await start(engine_for(engine_here, WAITING + heeding), tmp_path)
    await until_said(lines, "waiting")

    await scan.stop(20)

    assert await scan.wait() == ScanExit(3)
    assert said(lines) == ["waiting", "stopped"]
    assert engine_here.containers() == []


async def test_scan_that_ignores_the_stop_is_killed_after_the_grace(engine_here: PrivateEngine, tmp_path: Path) -> None:
    scan, lines = await start(engine_for(engine_here, WAITING + "signal.signal(signal.SIGTERM, signal.SIG_IGN)\nsignal.pause()"), tmp_path)
    await until_said(lines, "waiting")

    await asyncio.wait_for(scan.stop(1), 20)

    # Not out of memory: it was us.
    assert await scan.wait() == ScanExit(128 + signal.SIGKILL)
    assert engine_here.containers() == []


async def test_scan_that_is_killed_at_once_is_gone(engine_here: PrivateEngine, tmp_path: Path) -> None:
    scan, lines = await start(engine_for(engine_here, WAITING + "signal.pause()"), tmp_path)
    await until_said(lines, "waiting")

    scan.kill()

    assert (await asyncio.wait_for(scan.wait(), 20)).code == 128 + signal.SIGKILL


async def test_scan_that_floods_is_stopped_and_told_as_such(engine_here: PrivateEngine, tmp_path: Path) -> None:
    program = "import sys\nsys.stdin.readline()\nwhile True:\n    sys.stdout.write('x' * 65536)"

    engine = ContainerEngine("docker", engine_here.socket_file, engine_here.image_of(program), INSTALLATION, most_bytes=10**6)

    ended, _ = await run(engine, tmp_path)

    assert ended.flooded
    assert engine_here.containers() == []


async def test_wait_that_is_cancelled_leaves_the_scan_running(engine_here: PrivateEngine, tmp_path: Path) -> None:
    scan, lines = await start(engine_for(engine_here, WAITING + "sys.stdin.readline()\nprint('done', flush=True)"), tmp_path)
    await until_said(lines, "waiting")

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(scan.wait(), 0.3)
    still_there = engine_here.containers()
    await scan.stop(0)

    assert len(still_there) == 1
    assert said(lines) == ["waiting"]


@pytest.mark.parametrize("image", ["registry.example/scan:latest", "apviso-scan", "scan@sha256:short", "scan@md5:abc", ""])
async def test_image_that_is_not_named_by_digest_is_refused(engine_here: PrivateEngine, image: str) -> None:
    with pytest.raises(EngineFailed, match="digest") as refused:
        await ContainerEngine("docker", engine_here.socket_file, image, INSTALLATION).prepare(None)

    assert refused.value.reason is EndReason.IMAGE_REFUSED


async def test_local_image_that_is_not_there_is_told_as_unavailable(engine_here: PrivateEngine) -> None:
    with pytest.raises(EngineFailed, match="has no image") as refused:
        await ContainerEngine("docker", engine_here.socket_file, f"sha256:{'0' * 64}", INSTALLATION).prepare(None)

    assert refused.value.reason is EndReason.IMAGE_UNAVAILABLE


async def test_image_of_a_registry_that_does_not_answer_is_told_as_unavailable(engine_here: PrivateEngine) -> None:
    scan_engine = ContainerEngine("docker", engine_here.socket_file, engine_here.image, INSTALLATION, Trust("allow-unsigned-dev"))

    with pytest.raises(EngineFailed, match="cannot be fetched") as refused:
        await scan_engine.prepare(ScanImage(ref="127.0.0.1:1/scan", digest=f"sha256:{'0' * 64}"))

    assert refused.value.reason is EndReason.IMAGE_UNAVAILABLE


async def test_engine_that_is_not_there_is_a_problem_with_a_sentence(tmp_path: Path) -> None:
    engine = ContainerEngine("docker", tmp_path / "nobody.sock", f"sha256:{'0' * 64}", INSTALLATION)

    problem = await engine.problem()

    assert problem is not None
    assert "does not answer" in problem
    with pytest.raises(EngineFailed) as failed:
        await engine.prepare(None)
    assert failed.value.reason is EndReason.ENGINE_UNAVAILABLE


async def test_engine_tells_its_version_and_what_it_enforces(scan_engine: ContainerEngine) -> None:
    problem = await scan_engine.problem()
    facts = scan_engine.describe()

    assert problem is None
    assert (facts["isolation"], facts["rootless"]) == ("container", False)
    assert str(facts["version"])[0].isdigit()
    assert facts["cgroupVersion"] in ("1", "2")
    assert "seccomp" in str(facts["hardening"])


async def test_engine_that_dies_under_a_scan_is_told_and_the_scan_ends_too(engine_here: PrivateEngine, tmp_path: Path) -> None:
    assert missing_parts() == []
    packed = b"".join(engine_here.client.images.get(engine_here.image_of(WAITING + "sys.stdin.read()")).save())
    with engine_process() as (socket_file, pid):
        client = docker.DockerClient(f"unix://{socket_file}", timeout=60)
        (image,) = client.images.load(packed)
        client.close()
        scan, lines = await start(ContainerEngine("docker", socket_file, image.id, INSTALLATION), tmp_path)
        await until_said(lines, "waiting")

        os.kill(pid, signal.SIGKILL)

        with pytest.raises(EngineFailed, match="does not answer") as failed:
            await asyncio.wait_for(scan.wait(), 30)

    assert failed.value.reason is EndReason.ENGINE_UNAVAILABLE


async def test_leftovers_of_this_installation_alone_are_removed(engine_here: PrivateEngine, scan_engine: ContainerEngine) -> None:
    kept = {"unlabelled": {}, "of-another": {LABEL: "another-installation"}}
    for name, labels in {**kept, "left-behind": {LABEL: INSTALLATION}}.items():
        engine_here.client.containers.create(engine_here.image, name=name, labels=labels)

    ended = await scan_engine.end_leftovers()

    assert ended == ["left-behind"]
    assert sorted(engine_here.containers()) == sorted(kept)


async def test_scan_whose_runner_is_killed_ends_by_itself(engine_here: PrivateEngine, tmp_path: Path) -> None:
    image = engine_here.image_of(WAITING + "sys.stdin.read()\nprint('left alone', flush=True)")
    runner = subprocess.Popen(
        [sys.executable, "-c", _RUNNER, str(engine_here.socket_file), image, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert runner.stdout is not None
    assert await asyncio.to_thread(runner.stdout.readline) == "running\n"
    (container,) = engine_here.client.containers.list()

    runner.kill()
    runner.wait(10)
    ended = await asyncio.to_thread(container.wait, timeout=30)

    assert ended["StatusCode"] == 0
    assert await ContainerEngine("docker", engine_here.socket_file, image, INSTALLATION).end_leftovers() == [container.name]


_RUNNER = """
import asyncio, sys
from pathlib import Path
from tests.containers.running import INSTALLATION, ContainerEngine, start, until_said

async def main():
    scan, lines = await start(ContainerEngine("docker", Path(sys.argv[1]), sys.argv[2], INSTALLATION), Path(sys.argv[3]))
    await until_said(lines, "waiting")
    print("running", flush=True)
    await asyncio.sleep(600)

asyncio.run(main())
"""
