"""From the start of a scan's container to its first event: the runner's engine beside a container that is not hardened at all."""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from asyncio.subprocess import PIPE
from contextlib import closing
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

import docker

from apviso.runner.engines import Line, ScanLabels, Spoken
from apviso.runner.engines.container_engine import ContainerEngine
from apviso.scanning import environment
from benchmarks.measuring import Contestant, Row, interleaved
from tests.containers.private_engine import PrivateEngine, build_scan_image, engine_process, missing_parts
from tests.scanning.orders import order_for

ROUNDS = 15
SECONDS = 120.0
# In place of the scan: takes its order and says one line, as a scan does first.
FIRST_LINE = '{"type": "phase", "name": "start"}'
PROGRAM = f"import sys\nsys.stdin.readline()\nprint({FIRST_LINE!r}, flush=True)\n"
# With `--network none` the engine prepares a network all the same; ours tells it not to, so that only this one shows what hardening costs.
PLAIN_SDK = "the same image by the Docker SDK: create(network_disabled=True), attach, start, first line"
PLAIN_CLI = "docker run --rm --interactive --network none IMAGE, first line"


async def rows() -> list[Row]:
    """None where this machine cannot start an engine of its own."""
    if lacking := missing_parts():
        print(f"containers: left out, this machine lacks {', '.join(lacking)}\n")
        return []
    with engine_process() as (socket_file, pid), closing(docker.DockerClient(f"unix://{socket_file}", timeout=SECONDS)) as client:
        image = await asyncio.to_thread(build_scan_image, socket_file, environment.default_dir())
        here = PrivateEngine(socket_file, client, image, pid)
        return await _compared(here, await asyncio.to_thread(here.image_of, PROGRAM))


async def _compared(here: PrivateEngine, image: str) -> list[Row]:
    plain: list[tuple[str, Contestant]] = [(PLAIN_SDK, _by_sdk(here.client, image))]
    if shutil.which("docker") is not None:
        plain.insert(0, (PLAIN_CLI, _by_cli(here.socket_file, image)))
    with TemporaryDirectory(prefix="bench-") as folder:
        ours, *others = await interleaved(ROUNDS, _by_our_engine(here, image, Path(folder)), *(contestant for _, contestant in plain))
    names = [command for command, _ in plain]
    return [
        Row("start of a scan's container to its first event", command, ours, other) for command, other in zip(names, others, strict=True)
    ]


def _by_our_engine(here: PrivateEngine, image: str, folder: Path) -> Contestant:
    engine = ContainerEngine("docker", here.socket_file, image, "installation-of-the-benchmarks")
    numbers = count(1)

    async def start() -> float:
        number = next(numbers)
        work_dir = folder / str(number)
        work_dir.mkdir()
        heard = asyncio.Event()

        def take(line: Line) -> None:
            assert line == Spoken(FIRST_LINE.encode()), line
            heard.set()

        began = time.perf_counter()
        order = order_for("http://127.0.0.1:1/")
        scan = await engine.start(await engine.prepare(None), order, ScanLabels("runner-1", f"job-{number}", 1), work_dir, take)
        await heard.wait()
        seconds = time.perf_counter() - began
        assert (await scan.wait()).code == 0
        return seconds

    return _in_time(start)


def _by_sdk(client: docker.DockerClient, image: str) -> Contestant:
    def start() -> float:
        began = time.perf_counter()
        container = client.api.create_container(image, stdin_open=True, network_disabled=True)["Id"]
        stream = client.api.attach_socket(container, params={"stdin": 1, "stdout": 1, "stream": 1})._sock
        client.api.start(container)
        stream.sendall(b"{}\n")
        heard = b""
        while not heard.endswith(b"\n"):
            piece = stream.recv(4096)
            assert piece, heard
            heard += piece
        seconds = time.perf_counter() - began
        client.api.wait(container, timeout=SECONDS)
        stream.close()
        client.api.remove_container(container)
        return seconds

    return _in_time(lambda: asyncio.to_thread(start))


def _by_cli(socket_file: Path, image: str) -> Contestant:
    environment = {**os.environ, "DOCKER_HOST": f"unix://{socket_file}"}
    command = ("docker", "run", "--rm", "--interactive", "--network", "none", image)

    async def start() -> float:
        began = time.perf_counter()
        process = await asyncio.create_subprocess_exec(*command, env=environment, stdin=PIPE, stdout=PIPE)
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"{}\n")
        assert await process.stdout.readline() == f"{FIRST_LINE}\n".encode()
        seconds = time.perf_counter() - began
        assert await process.wait() == 0
        return seconds

    return _in_time(start)


def _in_time(start: Contestant) -> Contestant:
    async def bounded() -> float:
        async with asyncio.timeout(SECONDS):
            return await start()

    return bounded
