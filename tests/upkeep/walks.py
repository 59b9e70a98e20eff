"""Carries out a page of the documents as a reader would: its commands in order, in an empty home, against real processes on loopback."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import httpx2

from tests.upkeep.sources import read

BLOCK = re.compile(r"^```sh\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
# Commands that go on until they are told to stop: a reader leaves them running in a terminal.
GOES_ON = re.compile(r"^\.venv/bin/(?:apviso (?P<command>server|run)\b|python -m apviso\.(?P<module>demo)\b)")
ENROLLMENT_TOKEN = re.compile(r"apve_[0-9a-f]{12}_[A-Za-z0-9_-]{43}")
API_KEY = re.compile(r"X-API-Key: (\S+)")
BLOCK_SECONDS, START_SECONDS, STOP_SECONDS = 300.0, 60.0, 60.0


def blocks(page: str) -> list[str]:
    """The commands of a page, block by block."""
    return [found["text"] for found in BLOCK.finditer(read(page))]


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@dataclass
class Walk:
    """One reader on one machine. `heard` is what the commands said, in order."""

    folder: Path
    stack: ExitStack
    port: int = field(default_factory=free_port)
    shop_port: int = field(default_factory=free_port)
    heard: list[str] = field(default_factory=list)
    running: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.home.mkdir()
        (self.folder / ".venv").symlink_to(sys.prefix)

    @property
    def home(self) -> Path:
        return self.folder / "home"

    def follow(self, block: str) -> str:
        """Carry out one block; what it said. Fails when a command does, or when the API answers with a problem."""
        text = self._localized(block)
        if (found := GOES_ON.match(text)) is not None:
            return self._leave_running(text, found["command"] or found["module"])
        script = f"set -eu -o pipefail\ncd '{self.folder}'\n[ -e state ] && . ./state\n{text}\ndeclare -px > state\n"
        ended = subprocess.run(
            ["bash", "-c", script],
            env=self._environment(),
            input="".join(ENROLLMENT_TOKEN.findall("\n".join(self.heard))[-1:]) + "\n",
            capture_output=True,
            text=True,
            timeout=BLOCK_SECONDS,
        )
        assert ended.returncode == 0, f"{text}\n{ended.stdout[-2000:]}\n{ended.stderr[-2000:]}"
        assert '"requestId"' not in ended.stdout, f"{text}\n{ended.stdout}"
        self.heard.append(ended.stdout)
        return ended.stdout

    def end(self) -> list[int]:
        """End what goes on, the latest first, as Ctrl-C does; their exit codes."""
        codes = []
        for process in reversed(self.running):
            process.send_signal(signal.SIGINT)
            codes.append(process.wait(STOP_SECONDS))
        return codes

    def _localized(self, block: str) -> str:
        """The same commands on ports that are free here, and on loopback only."""
        said = block.replace("control-plane.example", "127.0.0.1").replace("0.0.0.0", "127.0.0.1")
        return re.sub(r"\b3000\b", str(self.shop_port), said.replace(":8700", f":{self.port}"))

    def _environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("APVISO_") and not name.lower().endswith("_proxy")}
        return {**kept, "HOME": str(self.home), "APVISO_PORT": str(self.port)}

    def _leave_running(self, text: str, name: str) -> str:
        log = self.folder / f"{name}.log"
        with log.open("wb") as stream:
            process = subprocess.Popen(
                ["bash", "-c", f"cd '{self.folder}' && exec {text.strip()}"],
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.stack.callback(_kill, process)
        self.running.append(process)
        is_up = {"server": self._server_answers, "run": self._runner_is_online, "demo": self._shop_answers}[name]
        _wait_for(is_up, process, log)
        return log.read_text(errors="replace")

    def _server_answers(self) -> bool:
        return httpx2.get(f"http://127.0.0.1:{self.port}/readyz", timeout=5, trust_env=False).status_code == 200

    def _runner_is_online(self) -> bool:
        key = API_KEY.findall((self.home / "apviso/api-key.header").read_text(encoding="utf-8"))[0]
        answer = httpx2.get(f"http://127.0.0.1:{self.port}/api/v1/runners", headers={"X-API-Key": key}, timeout=5, trust_env=False)
        return any(runner["status"] == "online" for runner in answer.json()["runners"])

    def _shop_answers(self) -> bool:
        return httpx2.get(f"http://127.0.0.1:{self.shop_port}/", timeout=5, trust_env=False).status_code == 200


def _wait_for(is_up: Callable[[], bool], process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not _holds(is_up):
        assert process.poll() is None, f"it ended with {process.returncode}: {log.read_text(errors='replace')[-2000:]}"
        assert time.monotonic() < deadline, f"waited in vain: {log.read_text(errors='replace')[-2000:]}"
        time.sleep(0.5)


def _holds(is_up: Callable[[], bool]) -> bool:
    try:
        return is_up()
    except httpx2.TransportError:
        return False


def _kill(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
