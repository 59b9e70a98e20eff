"""A whole installation as real processes: a control plane, runners and shops, driven through their commands and over HTTP."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import httpx2

from apviso.server import operator
from apviso.server.settings import Settings

T = TypeVar("T")
FINAL = {"completed", "failed", "cancelled", "preflight_failed"}
LEAST_PAUSE_SECONDS, MOST_PAUSE_SECONDS = 0.1, 1.0
START_SECONDS = 120
# One for all calls: each new client would read the system's certificates, which takes longer than the call. Nothing is kept open, because
# servers come and go.
HTTP = httpx2.Client(verify=False, trust_env=False, limits=httpx2.Limits(max_keepalive_connections=0))  # plain HTTP alone


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def wait_for(look: Callable[[], T | None], seconds: float, what: str) -> T:
    """What `look` answers once it answers something true; fails the test after `seconds`. The longer it takes, the rarer it looks."""
    began = time.monotonic()
    while not (seen := look()):
        waited = time.monotonic() - began
        assert waited < seconds, f"waited {seconds:.0f} s in vain: {what}"
        time.sleep(min(MOST_PAUSE_SECONDS, max(LEAST_PAUSE_SECONDS, waited / 10)))
    return seen


@dataclass
class Process:
    """One of our commands as a child in a session of its own."""

    popen: subprocess.Popen[bytes]
    log: Path

    def signal(self, number: int) -> None:
        os.killpg(self.popen.pid, number)

    def wait(self, seconds: float = 60) -> int:
        return self.popen.wait(seconds)

    def stop(self) -> None:
        if self.popen.poll() is None:
            self.popen.terminate()
            try:
                self.popen.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(self.popen.pid, signal.SIGKILL)
                self.popen.wait()


@dataclass
class Installation:
    """`settings` are the server's environment; shortened timers make hours testable."""

    folder: Path
    settings: dict[str, str] = field(default_factory=dict)
    stack: ExitStack = field(default_factory=ExitStack)
    port: int = field(default_factory=free_port)
    api_key: str = ""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> Installation:
        self.bootstrap()
        self.start_server()
        return self

    def bootstrap(self) -> None:
        """What the command does, without a process that has to import the whole server for it."""
        settings = Settings(data_dir=self.folder / "data", database_url=self.settings.get("APVISO_DATABASE_URL", ""))
        # In a thread: where a browser is, there is an event loop already.
        with ThreadPoolExecutor(1) as aside:
            way_in, _ = aside.submit(asyncio.run, operator.bootstrap(settings, "Acme")).result()
        self.api_key = way_in.key.reveal()

    def start_server(self) -> Process:
        words = ("server", "--port", str(self.port), "--data-dir", str(self.folder / "data"))
        server = self.spawn("server", *words, environment=self.settings)
        wait_for(self.is_ready, START_SECONDS, f"the control plane is ready; its log: {server.log.read_text()[-2000:]}")
        return server

    def is_ready(self, port: int | None = None) -> bool:
        try:
            return HTTP.get(f"http://127.0.0.1:{port or self.port}/readyz", timeout=2).status_code == 200
        except httpx2.TransportError:
            return False

    def environment(self, workspace: Path | None = None) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("APVISO_")}
        return {**kept, "APVISO_API_URL": self.url, "APVISO_RUNNER_WORKSPACE": str(workspace or self.folder / "nobody")}

    def run(self, *words: str, workspace: Path | None = None, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run a command to its end; fails the test when it fails."""
        command = [sys.executable, "-m", "apviso", *words]
        ended = subprocess.run(command, env=self.environment(workspace), input=stdin, capture_output=True, text=True, timeout=120)
        assert ended.returncode == 0, f"{words}: {ended.returncode}\n{ended.stdout[-1500:]}\n{ended.stderr[-1500:]}"
        return ended

    def by_user(self, *words: str) -> subprocess.CompletedProcess[str]:
        """A user's command to its end, whatever that is."""
        known = {"APVISO_API_URL": self.url, "APVISO_API_KEY": self.api_key}
        command = [sys.executable, "-m", "apviso", *words]
        return subprocess.run(command, env=self.environment(None) | known, capture_output=True, text=True, timeout=300)

    def spawn(self, name: str, *words: str, workspace: Path | None = None, environment: dict[str, str] | None = None) -> Process:
        log = self.folder / f"{name}.log"
        with log.open("ab") as stream:
            popen = subprocess.Popen(
                [sys.executable, "-m", "apviso", *words],
                env=self.environment(workspace) | (environment or {}),
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        process = Process(popen, log)
        self.stack.callback(process.stop)
        return process

    def enroll(self, name: str) -> Path:
        """Enroll a runner; its workspace."""
        workspace = self.folder / name
        token = self.call("POST", "/runners/enrollment-tokens", {"name": name})["token"]
        self.run("register", "--token-file", "-", "--name", name, workspace=workspace, stdin=token)
        return workspace

    def start_runner(self, name: str, workspace: Path, **environment: str) -> Process:
        return self.spawn(name, "run", workspace=workspace, environment=environment)

    def open_shop(self, *, hardened: bool = False, tls: bool = False) -> str:
        """A shop on a free port; its address."""
        flags = [*(["--hardened"] if hardened else []), *(["--tls"] if tls else [])]
        command = [sys.executable, "-m", "apviso.demo", "--port", "0", *flags]
        popen = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True)
        self.stack.callback(Process(popen, self.folder / "shop.log").stop)
        assert popen.stdout is not None
        self.stack.callback(popen.stdout.close)
        return f"{'https' if tls else 'http'}://127.0.0.1:{json.loads(popen.stdout.readline())['listening']}/"

    def add_target(self, url: str) -> str:
        body = {"domain": httpx2.URL(url).netloc.decode(), "scanUrl": url, "visibility": "localhost"}
        return str(self.call("POST", "/targets", body)["target"]["id"])

    def start_scan(self, target_id: str, **wanted: Any) -> str:
        return str(self.call("POST", "/scans", {"targetId": target_id, "modelPreset": "free", **wanted})["scan"]["id"])

    def scan(self, scan_id: str) -> dict[str, Any]:
        shown: dict[str, Any] = self.call("GET", f"/scans/{scan_id}")["scan"]
        return shown

    def wait_until(self, scan_id: str, *statuses: str, seconds: float = 120) -> dict[str, Any]:
        def look() -> dict[str, Any] | None:
            scan = self.scan(scan_id)
            if scan["status"] in FINAL and scan["status"] not in statuses:
                raise AssertionError(f"the scan ended as {scan['status']} ({scan['endReason']}): {scan['statusReason']}")
            return scan if scan["status"] in statuses else None

        return wait_for(look, seconds, f"scan {scan_id} is {statuses}; it is {self.scan(scan_id)}")

    def wait_for_end(self, scan_id: str, seconds: float = 180) -> dict[str, Any]:
        return self.wait_until(scan_id, *FINAL, seconds=seconds)

    def log(self, scan_id: str) -> list[dict[str, Any]]:
        """All events of the scan's current attempt."""
        events: list[dict[str, Any]] = []
        while True:
            part = self.call("GET", f"/scans/{scan_id}/log?after={events[-1]['seq'] if events else 0}")["events"]
            if not part:
                return events
            events += part

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        answer = HTTP.request(method, f"{self.url}/api/v1{path}", json=body, headers={"X-API-Key": self.api_key}, timeout=30)
        assert answer.status_code < 300, f"{method} {path}: {answer.status_code} {answer.text[:1500]}"
        told: dict[str, Any] = answer.json() if answer.content else {}
        return told
