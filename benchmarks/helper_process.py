"""A process of another environment that is asked by lines: a word in, a number out."""

from __future__ import annotations

import asyncio
import json
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

SECONDS = 180.0


class HelperProcess:
    def __init__(self, process: Process) -> None:
        self._process = process

    def asks(self, word: str) -> Callable[[], Awaitable[float]]:
        """A contestant: what the process answers to this word."""

        async def ask() -> float:
            assert self._process.stdin is not None
            assert self._process.stdout is not None
            self._process.stdin.write(f"{word}\n".encode())
            line = await asyncio.wait_for(self._process.stdout.readline(), SECONDS)
            assert line, "the helper process has ended; what it said is above"
            return float(json.loads(line))

        return ask


@asynccontextmanager
async def helper_process(*command: str) -> AsyncIterator[HelperProcess]:
    process = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE)
    try:
        yield HelperProcess(process)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), 10)
        except TimeoutError:
            process.kill()
            await process.wait()
