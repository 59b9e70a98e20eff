"""Loads a server over many kept connections with `wrk`, and tells what came of it and what the server spent on it."""

from __future__ import annotations

import asyncio
import json
import os
from asyncio.subprocess import PIPE
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import psutil

from benchmarks.connection import Connection
from benchmarks.peers import system_program

CONNECTIONS = 64
SECONDS = 1
SCRIPT = Path(__file__).with_name("load.lua")
# Stands in a request where the number goes that rises; as long as the number, so that the length of the body stays.
SEQUENCE = "SEQUENCE__"
_FIRST = 10 ** (len(SEQUENCE) - 1)


@dataclass(frozen=True)
class Sent:
    """One round: answers a second, milliseconds, microseconds of the server's processor for one answer, answers that were no 2xx."""

    per_second: float
    p50: float
    p99: float
    cpu: float
    failed: int
    bytes: float


@dataclass
class Load:
    """Loads `port` with these requests in turn; `processes` are the server's."""

    name: str
    port: int
    processes: Callable[[], Sequence[psutil.Process]]
    requests: Sequence[bytes]
    folder: Path
    connections: int = CONNECTIONS
    # Sent once each before the round: nothing of it is counted.
    before: Sequence[bytes] = ()
    _rounds: count[int] = field(default_factory=count)

    async def __call__(self) -> Sent:
        wrk = system_program("wrk", "wrk")
        file = self.folder / f"requests-{self.port}.lua"
        if not file.exists():
            file.touch(mode=0o600)
            file.write_text("return {" + ",\n".join(_lua(one) for one in self.requests) + "}")
        # Each round takes up where no earlier one can have come.
        first = _FIRST + next(self._rounds) * 1_000_000
        await each_once(self.port, self.before, first)
        environment = {**os.environ, "BENCH_REQUESTS": str(file), "BENCH_FIRST": str(first + 1)}
        processes = self.processes()
        spent = _spent(processes)
        command = (
            wrk,
            "-t1",
            f"-c{self.connections}",
            f"-d{SECONDS}s",
            "--timeout",
            "10s",
            "-s",
            str(SCRIPT),
            f"http://127.0.0.1:{self.port}",
        )
        wrk_process = await asyncio.create_subprocess_exec(*command, env=environment, stdout=PIPE, stderr=PIPE)
        try:
            out, err = await asyncio.wait_for(wrk_process.communicate(), SECONDS + 60)
        finally:
            if wrk_process.returncode is None:
                wrk_process.kill()
        spent = _spent(processes) - spent
        found = [line.removeprefix("RESULT ") for line in out.decode().splitlines() if line.startswith("RESULT ")]
        assert found, (out, err)
        told = json.loads(found[0])
        # A round without any answer counts as one: the side that is compared with it gains nothing by that.
        answers = max(1, told["requests"])
        return Sent(
            answers / (told["microseconds"] / 1e6),
            told["p50"],
            told["p99"],
            spent / answers * 1e6,
            told["refused"] + told["broken"],
            told["bytes"] / answers,
        )


async def each_once(port: int, requests: Sequence[bytes], sequence: int) -> None:
    """Send these requests with this number in them. Raises Broken, or AssertionError where one is refused."""
    left = iter(requests)

    async def send() -> None:
        connection = await Connection.open(port, "127.0.0.1")
        for one in left:
            answer = await connection.ask(one.replace(SEQUENCE.encode(), str(sequence).encode()), 60)
            assert answer.status < 300, answer
        connection.abort()

    async with asyncio.TaskGroup() as group:
        for _ in range(min(len(requests), 8)):
            group.create_task(send())


def request(method: str, path: str, headers: dict[str, str], body: object = None) -> bytes:
    """A whole request; SEQUENCE may stand in its body as a number."""
    text = b"" if body is None else json.dumps(body).replace(f'"{SEQUENCE}"', SEQUENCE).encode()
    told = {"Host": "bench", **headers}
    if body is not None:
        told |= {"Content-Type": "application/json", "Content-Length": str(len(text))}
    head = "".join(f"{name}: {value}\r\n" for name, value in told.items())
    return f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + text


def family(pid: int) -> list[psutil.Process]:
    """A server and the processes that it has started."""
    parent = psutil.Process(pid)
    return [parent, *parent.children(recursive=True)]


def _lua(one: bytes) -> str:
    # A string in JSON is one in Lua, too, where it is plain ASCII.
    return "{" + ", ".join(json.dumps(part) for part in one.decode("ascii").split(SEQUENCE)) + "}"


def _spent(processes: Sequence[psutil.Process]) -> float:
    spent = 0.0
    for process in processes:
        times = process.cpu_times()
        spent += times.user + times.system
    return float(spent)
