"""What a heartbeat costs the control plane's processor, beside the least that an ASGI application can do: 64 kept connections."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx2
import psutil

from benchmarks.asgi_constant import constant_server
from benchmarks.measuring import Contestant, Row, interleaved
from tests.end_to_end.installation import Installation

ROUNDS = 9
CONNECTIONS = 64
REQUESTS = 6_400
SECONDS = 120.0
LIMITS = {
    "APVISO_DAEMON_REQUESTS_PER_MINUTE": "1000000000",
    "APVISO_REQUESTS_PER_MINUTE": "1000000",
    "APVISO_ENROLLMENTS_PER_MINUTE": "100000",
}


@dataclass
class Beating:
    """One enrolled runner on a connection of its own."""

    token: str
    number: int
    beats: int = 0

    def request(self) -> bytes:
        self.beats += 1
        said = {
            "bootId": f"boot-{self.number}",
            "beatSeq": self.beats,
            "version": "0.1.0",
            "configuredConcurrency": 2,
            "currentJobs": 0,
            "runningJobs": [],
            "providerState": {"modelProvider": "none", "embeddingProvider": "none"},
            "capabilities": {"localProviderSecrets": False, "localTargetAuthConfig": True, "isolation": "container"},
            "health": {"diskFreeBytes": 107374182400, "clockSkewMs": 3, "spoolBacklogBytes": 0},
            "lastClaimPollAgeMs": 800,
        }
        body = json.dumps(said).encode()
        head = f"POST /api/runner/heartbeat HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {self.token}\r\n"
        return head.encode() + b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body


async def rows() -> list[Row]:
    with TemporaryDirectory(prefix="bench-") as folder, ExitStack() as stack:
        installation = Installation(Path(folder), dict(LIMITS))
        stack.enter_context(installation.stack)
        installation.bootstrap()
        _license(installation)
        server = installation.start_server()
        runners = [Beating(_enrolled(installation, number), number) for number in range(CONNECTIONS)]
        constant_port, constant_pid = stack.enter_context(constant_server())
        ours = _contestant(installation.port, server.popen.pid, runners)
        plain = _contestant(constant_port, constant_pid, [Beating(runner.token, runner.number) for runner in runners])
        seconds = await interleaved(ROUNDS, ours, plain)
    return [Row(f"processor time of a heartbeat, {CONNECTIONS} kept connections", "a constant answer, in plain ASGI", *seconds)]


def _license(installation: Installation) -> None:
    """For more runners than the community's."""
    key, file = str(installation.folder / "issuer.key"), str(installation.folder / "license.json")
    limits = ("--runners", str(CONNECTIONS), "--jobs", "1", "--targets", "1", "--visibility", "localhost")
    installation.run("admin", "license", "issue", "--plan", "bench", *limits, "--key", key, "--out", file)
    issuer = str(Path(key).with_suffix(".pub"))
    installation.run("admin", "license", "install", file, "--issuer-key", issuer, "--data-dir", str(installation.folder / "data"))


def _enrolled(installation: Installation, number: int) -> str:
    token = installation.call("POST", "/runners/enrollment-tokens", {})["token"]
    body = {"enrollmentToken": token, "name": f"runner-{number}", "version": "0.1.0", "protocolVersion": 1, "configuredConcurrency": 2}
    answer = httpx2.post(f"{installation.url}/api/runner/register", json=body, trust_env=False, timeout=30)
    return str(answer.raise_for_status().json()["token"])


def _contestant(port: int, pid: int, runners: list[Beating]) -> Contestant:
    """Seconds of the server's processor for one request."""
    process = psutil.Process(pid)

    async def deed() -> float:
        before = _spent(process)
        async with asyncio.timeout(SECONDS), asyncio.TaskGroup() as group:
            for runner in runners:
                group.create_task(_beat(port, runner.request, REQUESTS // CONNECTIONS))
        return (_spent(process) - before) / REQUESTS

    return deed


def _spent(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


async def _beat(port: int, request: Callable[[], bytes], number: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for _ in range(number):
            writer.write(request())
            head = await reader.readuntil(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 200"):
                raise RuntimeError(f"a heartbeat was refused: {head[:200]!r}")
            length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
            await reader.readexactly(length)
    finally:
        writer.close()
