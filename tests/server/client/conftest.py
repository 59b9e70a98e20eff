"""The control plane of the test on a real socket, and commands as real processes that call it."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.support.control_plane import Plane, on_a_socket
from tests.support.databases import Databases
from tests.support.people import Organization


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str


@dataclass(frozen=True)
class Shell:
    """Commands with nothing of the outer environment but the path."""

    url: str
    key: str = field(repr=False)

    async def start(self, *words: str, **environ: str) -> asyncio.subprocess.Process:
        told = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "APVISO_API_URL": self.url, "APVISO_API_KEY": self.key, **environ}
        pipe = asyncio.subprocess.PIPE
        command = (sys.executable, "-m", "apviso", *words)
        return await asyncio.create_subprocess_exec(*command, env=told, stdin=pipe, stdout=pipe, stderr=pipe)

    async def run(self, *words: str, stdin: str = "", **environ: str) -> Ran:
        return await ended(await self.start(*words, **environ), stdin)


async def ended(process: asyncio.subprocess.Process, stdin: str = "") -> Ran:
    """What a process has said when it has ended."""
    out, err = await asyncio.wait_for(process.communicate(stdin.encode()), 60)
    assert process.returncode is not None
    return Ran(process.returncode, out.decode(), err.decode())


@pytest.fixture
async def url(plane: Plane) -> AsyncIterator[str]:
    async with on_a_socket(plane) as wire:
        yield str(wire.base_url).rstrip("/")


@pytest.fixture
def shell(url: str, acme: Organization) -> Shell:
    return Shell(url, acme.key)


@pytest.fixture
def database_url(sqlite_template: Path, tmp_path: Path) -> Iterator[str]:
    """One kind is enough here: whoever calls does not know which it is."""
    with Databases(sqlite_template).fresh(tmp_path) as url:
        yield url
