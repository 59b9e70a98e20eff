"""Runs a program in place of the scan, as the runner would."""

from __future__ import annotations

import asyncio
import json
from itertools import count
from pathlib import Path
from typing import Any

from apviso.runner.engines import Line, RunningScan, ScanExit, ScanLabels, Spoken
from apviso.runner.engines.container_engine import ContainerEngine
from tests.containers.private_engine import PrivateEngine
from tests.scanning.orders import order_for

INSTALLATION = "installation-of-the-tests"
SECONDS = 60
_NUMBERS = count(1)


def engine_for(here: PrivateEngine, program: str) -> ContainerEngine:
    return ContainerEngine("docker", here.socket_file, here.image_of(program), INSTALLATION)


async def start(engine: ContainerEngine, work_dir: Path, proxy_port: int = 9) -> tuple[RunningScan, list[Line]]:
    lines: list[Line] = []
    labels = ScanLabels("runner-1", f"job-{next(_NUMBERS)}", 1)
    order = order_for("http://127.0.0.1:1/", proxy_url=f"http://127.0.0.1:{proxy_port}")
    return await engine.start(await engine.prepare(None), order, labels, work_dir, lines.append), lines


async def run(engine: ContainerEngine, work_dir: Path, proxy_port: int = 9) -> tuple[ScanExit, list[Line]]:
    async with asyncio.timeout(SECONDS):
        scan, lines = await start(engine, work_dir, proxy_port)
        return await scan.wait(), lines


def said(lines: list[Line]) -> list[str]:
    return [line.text.decode() for line in lines if isinstance(line, Spoken) and not line.error]


async def facts_of(here: PrivateEngine, program: str, work_dir: Path, proxy_port: int = 9) -> dict[str, Any]:
    """What a program found out inside: it prints one JSON object."""
    ended, lines = await run(engine_for(here, program), work_dir, proxy_port)
    assert ended == ScanExit(0), lines
    told: dict[str, Any] = json.loads(said(lines)[-1])
    return told


async def until_said(lines: list[Line], text: str) -> None:
    async with asyncio.timeout(SECONDS):
        while text not in said(lines):  # noqa: ASYNC110 - lines come by a callback
            await asyncio.sleep(0.02)
