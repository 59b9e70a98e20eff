"""Starts the servers that ours is compared with, each on a free port of loopback with its files in a folder that goes away with it."""

from __future__ import annotations

import base64
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

from benchmarks.peers import PREFECT, system_program
from tests.end_to_end.installation import free_port

START_SECONDS = 120
POOL = "bench"


@dataclass(frozen=True)
class PeerServer:
    """`start_seconds` is from its start to its first healthy answer."""

    port: int
    pid: int
    start_seconds: float

    def post(self, path: str, body: dict[str, Any]) -> Any:
        answer = httpx2.post(f"http://127.0.0.1:{self.port}{path}", json=body, timeout=60, trust_env=False)
        return answer.raise_for_status().json() if answer.content else None


@contextmanager
def prefect_server(folder: Path, database_url: str, *, with_services: bool = False) -> Iterator[PeerServer]:
    """Prefect's API. Without its timed services it has more of the processor for the requests, and leaves more to the others."""
    program = PREFECT.program("prefect")
    home = folder / "prefect"
    home.mkdir(exist_ok=True)
    settings = {
        "HOME": str(home),
        "PREFECT_HOME": str(home),
        "PREFECT_PROFILES_PATH": str(home / "profiles.toml"),
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": database_url,
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_UI_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "PREFECT_LOGGING_SERVER_LEVEL": "ERROR",
    }
    port = free_port()
    command = [program, "server", "start", "--host", "127.0.0.1", "--port", str(port), "--no-ui"]
    with _running([*command, *([] if with_services else ["--no-services"])], settings, home / "log") as process:
        yield PeerServer(port, process.pid, _until_healthy(process, f"http://127.0.0.1:{port}/api/health", home / "log"))


@contextmanager
def etcd_server(folder: Path) -> Iterator[PeerServer]:
    program = system_program("etcd", "etcd-server")
    port, peer_port = free_port(), free_port()
    client, peer = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{peer_port}"
    command = [program, "--name", "bench", "--data-dir", str(folder / "etcd"), "--log-level", "error"]
    command += ["--listen-client-urls", client, "--advertise-client-urls", client]
    command += ["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", f"bench={peer}"]
    with _running(command, {}, folder / "etcd.log") as process:
        yield PeerServer(port, process.pid, _until_healthy(process, f"{client}/health", folder / "etcd.log"))


def etcd_leases(server: PeerServer, count: int) -> list[str]:
    """The ids of new leases of an hour, each with a key as a runner's record would hang on it."""
    ids = [str(server.post("/v3/lease/grant", {"TTL": 3600})["ID"]) for _ in range(count)]
    for number, lease in enumerate(ids):
        key, value = (base64.b64encode(text.encode()).decode() for text in (f"runners/{number}", "x" * 500))
        server.post("/v3/kv/put", {"key": key, "value": value, "lease": lease})
    return ids


def prefect_workers(server: PeerServer, count: int) -> None:
    """A work pool with so many workers that have sent a heartbeat."""
    server.post("/api/work_pools/", {"name": POOL, "type": "process"})
    for number in range(count):
        server.post(f"/api/work_pools/{POOL}/workers/heartbeat", {"name": f"worker-{number}", "heartbeat_interval_seconds": 15})


@contextmanager
def _running(command: list[str], settings: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "ETCD_", "VIRTUAL_ENV"))}
    with log.open("ab") as stream:
        process = subprocess.Popen(
            command, env=kept | settings, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream, start_new_session=True, cwd=log.parent
        )
    try:
        yield process
    finally:
        # In a session of its own: what it has started ends with it.
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(20)


def _until_healthy(process: subprocess.Popen[bytes], url: str, log: Path) -> float:
    began = time.monotonic()
    while time.monotonic() - began < START_SECONDS:
        assert process.poll() is None, log.read_text()[-2000:]
        try:
            if httpx2.get(url, timeout=2, trust_env=False).status_code == 200:
                return time.monotonic() - began
        except httpx2.TransportError:
            time.sleep(0.02)
    raise TimeoutError(f"{url} did not become healthy: {log.read_text()[-2000:]}")
