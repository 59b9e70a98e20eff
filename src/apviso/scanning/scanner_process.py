"""Runs one scanner program with bounded output and bounded time. Knows no scanner; leaves no process behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from asyncio.subprocess import PIPE, STDOUT, Process
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

_MAX_LINE_BYTES = 8 * 1024
_CHUNK_BYTES = 64 * 1024
KILL_SECONDS = 5.0


@dataclass(frozen=True)
class Ended:
    """`exit_code` is negative for a signal. `stopped`: its time was up, so what it reports is a part."""

    exit_code: int
    stopped: bool


@dataclass(frozen=True)
class Stopping:
    """How a scanner is asked to finish: what it reads on its standard input after an interrupt, and how long it may take."""

    answer: bytes
    grace_seconds: float


async def run(command: list[str], work_dir: Path, deadline_seconds: float, stopping: Stopping, hear: Callable[[str], None]) -> Ended:
    """Run to the end or to the deadline; each line of output goes to `hear`. Raises OSError where it cannot start."""
    process = await asyncio.create_subprocess_exec(
        *command, cwd=work_dir, env=_environment(work_dir), stdin=PIPE, stdout=PIPE, stderr=STDOUT
    )
    try:
        async with asyncio.TaskGroup() as tasks:
            following = tasks.create_task(_follow(process, hear))
            stopped = await _wait(process, deadline_seconds, stopping)
            # Something the scanner left behind may hold its output open for ever.
            await asyncio.wait({following}, timeout=KILL_SECONDS)
            following.cancel()
    finally:
        await _end(process)
    assert process.returncode is not None
    return Ended(process.returncode, stopped)


async def _wait(process: Process, deadline_seconds: float, stopping: Stopping) -> bool:
    try:
        await asyncio.wait_for(process.wait(), deadline_seconds)
    except TimeoutError:
        await _ask_to_finish(process, stopping)
        return True
    return False


async def _ask_to_finish(process: Process, stopping: Stopping) -> None:
    assert process.stdin is not None
    process.stdin.write(stopping.answer)
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signal.SIGINT)
    try:
        await asyncio.wait_for(process.wait(), stopping.grace_seconds)
    except TimeoutError:
        await _end(process)


async def _end(process: Process) -> None:
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await asyncio.wait_for(process.wait(), KILL_SECONDS)


async def _follow(process: Process, hear: Callable[[str], None]) -> None:
    """Read all output, so that the scanner never blocks on it; lines are cut at a bound."""
    assert process.stdout is not None
    partial = b""
    while chunk := await process.stdout.read(_CHUNK_BYTES):
        *lines, partial = (partial + chunk).split(b"\n")
        partial = partial[:_MAX_LINE_BYTES]
        for line in lines:
            hear(line[:_MAX_LINE_BYTES].decode(errors="replace"))


def _environment(work_dir: Path) -> dict[str, str]:
    """A home of its own and no proxy settings: the scanner knows one way to the target."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL") if name in os.environ}
    return {**kept, "HOME": str(work_dir), "TMPDIR": str(work_dir), "TERM": "dumb", "PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1"}
