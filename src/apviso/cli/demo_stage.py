"""The demo's processes and its calls to the API: nothing that a person could not do by hand with the same commands."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import httpx2

from apviso.protocol.states import FINAL_STATUSES, ScanStatus

START_SECONDS = 60.0
# A `low` scan of the shop takes about a minute on two cores.
SCAN_SECONDS = 600.0
STOP_SECONDS = 20.0


class DemoFailed(Exception):
    """What kept the demo from its end, in one sentence."""


@dataclass
class Stage:
    """Everything that the demo started, and the way to end it."""

    folder: Path
    stack: ExitStack
    port: int
    api_key: str = field(default="", repr=False)
    shop_url: str = ""
    runner: subprocess.Popen[bytes] | None = None

    @property
    def api_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @classmethod
    @contextmanager
    def set(cls) -> Iterator[Self]:
        """A stage in a temporary folder. At the end all is stopped and removed but the report, and logs after a failure."""
        folder = Path(tempfile.mkdtemp(prefix="apviso-demo-"))
        kept = {"report"}
        with ExitStack() as stack:
            stack.callback(_strike, folder, kept)
            try:
                yield cls(folder, stack, _free_port())
            except DemoFailed:
                kept.update(path.name for path in folder.glob("*.log"))
                raise

    def start_server(self) -> None:
        told = self._run("admin", "bootstrap", "--data-dir", self._path("control-plane"), "--organization", "Demo", "--json")
        self.api_key = json.loads(told)["apiKey"]
        self._spawn("server", "--port", str(self.port), "--data-dir", self._path("control-plane"), name="server")
        _wait_for(self._is_ready, START_SECONDS, f"the control plane did not start; see {self._log('server')}")

    def start_shop(self, *, hardened: bool) -> str:
        command = [sys.executable, "-m", "apviso.demo", "--port", "0", *(["--hardened"] if hardened else [])]
        shop = self._popen(command, stdout=subprocess.PIPE, stderr=self._log("shop").open("wb"))
        assert shop.stdout is not None
        line = shop.stdout.readline()
        if not line:
            raise DemoFailed(f"the shop did not start; see {self._log('shop')}")
        self.shop_url = f"http://127.0.0.1:{json.loads(line)['listening']}/"
        return self.shop_url

    def add_target(self) -> str:
        body = {"domain": httpx2.URL(self.shop_url).netloc.decode(), "scanUrl": self.shop_url, "displayUrl": self.shop_url}
        return str(self.call("POST", "/targets", {**body, "visibility": "localhost"})["target"]["id"])

    def enroll_runner(self) -> str:
        token = self.call("POST", "/runners/enrollment-tokens", {"name": "demo-runner"})["token"]
        self._run("register", "--token-file", "-", "--name", "demo-runner", stdin=token)
        return "demo-runner"

    def start_runner(self) -> int:
        self.runner = self._spawn("run", name="runner")
        return self.runner.pid

    def readiness(self, target_id: str) -> dict[str, Any]:
        return self.call("GET", f"/runners/readiness?targetId={target_id}")

    def wait_until_ready(self, target_id: str) -> dict[str, Any]:
        def is_ready() -> bool:
            if self.runner is not None and self.runner.poll() is not None:
                raise DemoFailed(f"the runner ended with exit code {self.runner.returncode}; see {self._log('runner')}")
            return bool(self.readiness(target_id)["ready"])

        _wait_for(is_ready, START_SECONDS, f"the runner did not become ready; see {self._log('runner')}")
        return self.readiness(target_id)

    def start_scan(self, target_id: str) -> str:
        return str(self.call("POST", "/scans", {"targetId": target_id, "modelPreset": "low"})["scan"]["id"])

    def scan(self, scan_id: str) -> dict[str, Any]:
        shown: dict[str, Any] = self.call("GET", f"/scans/{scan_id}")["scan"]
        return shown

    def follow(self, scan_id: str) -> Iterator[dict[str, Any]]:
        """The scan's events as they come, until it ends."""
        headers = {"X-API-Key": self.api_key, "Accept": "text/event-stream"}
        deadline = time.monotonic() + SCAN_SECONDS
        url = f"{self.api_url}/api/v1/scans/{scan_id}/log"
        with httpx2.stream("GET", url, headers=headers, timeout=httpx2.Timeout(30), trust_env=False) as answer:
            for line in answer.iter_lines():
                if line.startswith("data: ") and '"seq"' in line:
                    yield json.loads(line.removeprefix("data: "))
                if time.monotonic() > deadline:
                    raise DemoFailed(f"the scan did not end within {SCAN_SECONDS:.0f} s")

    def findings(self, scan_id: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.call("GET", f"/scans/{scan_id}/findings?limit=100")["findings"]
        return found

    def save_report(self, scan_id: str) -> Path:
        report = self.call("GET", f"/scans/{scan_id}/report")["report"]
        path = self.folder / "report" / f"{scan_id}.md"
        path.parent.mkdir(exist_ok=True)
        path.write_text(report["markdownContent"], encoding="utf-8")
        return path

    def check(self, scan: dict[str, Any]) -> None:
        """A scan that did not complete is no demo."""
        if scan["status"] not in FINAL_STATUSES or scan["status"] != ScanStatus.COMPLETED:
            raise DemoFailed(f"the scan ended as {scan['status']} ({scan['endReason']}): {scan['statusReason']}")

    def wait_for_end(self) -> None:
        while self.runner is not None and self.runner.poll() is None:
            time.sleep(0.5)

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        answer = httpx2.request(
            method, f"{self.api_url}/api/v1{path}", json=body, headers={"X-API-Key": self.api_key}, timeout=30, trust_env=False
        )
        if answer.status_code >= 400:
            raise DemoFailed(f"{method} {path} was answered {answer.status_code}: {answer.json().get('error')}")
        told: dict[str, Any] = answer.json()
        return told

    def _is_ready(self) -> bool:
        try:
            return httpx2.get(f"{self.api_url}/readyz", timeout=2, trust_env=False).status_code == 200
        except httpx2.TransportError:
            return False

    def _path(self, name: str) -> str:
        return str(self.folder / name)

    def _log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def _environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("APVISO_")}
        return {**kept, "APVISO_API_URL": self.api_url, "APVISO_RUNNER_WORKSPACE": self._path("runner"), "NO_PROXY": "127.0.0.1"}

    def _run(self, *words: str, stdin: str = "") -> str:
        ended = subprocess.run(  # noqa: S603  # our own command line, as an argument list
            [sys.executable, "-m", "apviso", *words],
            input=stdin,
            env=self._environment(),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        if ended.returncode != 0:
            raise DemoFailed(f"`apviso {words[0]}` ended with exit code {ended.returncode}: {ended.stderr.strip()[-500:]}")
        return ended.stdout

    def _spawn(self, *words: str, name: str) -> subprocess.Popen[bytes]:
        log = self._log(name).open("wb")
        self.stack.callback(log.close)
        return self._popen([sys.executable, "-m", "apviso", *words], stdout=log, stderr=subprocess.STDOUT)

    def _popen(self, command: list[str], **streams: Any) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(command, env=self._environment(), stdin=subprocess.DEVNULL, start_new_session=True, **streams)  # noqa: S603
        self.stack.callback(_stop, process)
        return process


def _wait_for(holds: Callable[[], bool], seconds: float, otherwise: str) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            raise DemoFailed(otherwise)
        # Slow enough to stay far below the rate limit of the key.
        time.sleep(1.0)


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _strike(folder: Path, kept: set[str]) -> None:
    for path in folder.iterdir():
        if path.name in kept:
            continue
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    if not any(folder.iterdir()):
        folder.rmdir()


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
