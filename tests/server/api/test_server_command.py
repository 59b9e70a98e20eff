"""`apviso server` as a process: it says where it is, serves, and ends when told to."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from apviso.server.serving import GRACEFUL_SECONDS

DEADLINE_SECONDS = 60


def _environment(folder: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("APVISO_")}
    return {**kept, "APVISO_DATA_DIR": str(folder / "data")}


def _command(*words: str) -> list[str]:
    return [sys.executable, "-c", "from apviso.cli import main; main()", *words]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A control plane on a free port; its first line of output tells the address."""
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(
            _command("server", "--port", "0", "--log-level", "debug"),
            stdout=subprocess.PIPE, stderr=log, text=True, cwd=tmp_path, env=_environment(tmp_path),
        )  # fmt: skip
        try:
            yield process
        finally:
            process.kill()
            process.wait(DEADLINE_SECONDS)
            assert process.stdout is not None
            process.stdout.close()


def _address(server: subprocess.Popen[str]) -> str:
    assert server.stdout is not None
    return server.stdout.readline().split()[-1]


def _bootstrapped(folder: Path) -> str:
    """A key, made beside the running server."""
    command = _command("admin", "bootstrap", "--json")
    told = subprocess.run(command, capture_output=True, check=True, timeout=DEADLINE_SECONDS, env=_environment(folder))
    return str(json.loads(told.stdout)["apiKey"])


@pytest.mark.slow
def test_server_serves_a_bootstrapped_key_and_ends_on_sigterm(server: subprocess.Popen[str], tmp_path: Path) -> None:
    address = _address(server)
    quota = httpx2.get(f"{address}api/v1/quota", headers={"X-API-Key": _bootstrapped(tmp_path)}, timeout=DEADLINE_SECONDS)

    server.send_signal(signal.SIGTERM)

    assert quota.json()["tier"] == "community"
    assert "server" not in quota.headers
    assert server.wait(DEADLINE_SECONDS) == 0


@pytest.mark.slow
def test_server_log_is_json_with_request_ids_and_without_secrets(server: subprocess.Popen[str], tmp_path: Path) -> None:
    secret = "apvk_0123456789ab_" + "s" * 43
    httpx2.get(f"{_address(server)}api/v1/quota", headers={"X-API-Key": secret, "X-Request-Id": "mine"}, timeout=DEADLINE_SECONDS)
    server.send_signal(signal.SIGINT)
    code = server.wait(DEADLINE_SECONDS)

    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]

    assert code == 0
    assert [(line["path"], line["status"]) for line in lines if line.get("request_id") == "mine"] == [("/api/v1/quota", 401)]
    assert "s" * 43 not in (tmp_path / "log").read_text()


@pytest.mark.slow
def test_server_with_a_stream_held_open_ends_within_its_grace(server: subprocess.Popen[str], tmp_path: Path) -> None:
    address, headers = _address(server), {"X-API-Key": _bootstrapped(tmp_path)}
    with httpx2.stream("GET", f"{address}api/v1/events", headers=headers, timeout=DEADLINE_SECONDS) as stream:
        assert next(stream.iter_lines()) == ": connected"
        began = time.monotonic()

        server.send_signal(signal.SIGTERM)

        assert server.wait(DEADLINE_SECONDS) == 0
        assert time.monotonic() - began < GRACEFUL_SECONDS + 10


@pytest.mark.slow
def test_server_whose_database_is_away_says_so_and_tells_no_password(tmp_path: Path) -> None:
    away = {"APVISO_DATABASE_URL": "postgresql+asyncpg://apviso:canary-of-the-database@127.0.0.1:1/apviso"}

    ended = subprocess.run(
        _command("server", "--port", "0"), capture_output=True, text=True, timeout=DEADLINE_SECONDS, env=_environment(tmp_path) | away
    )

    assert ended.returncode == 69
    assert ended.stderr.splitlines()[-1] == "The control plane did not start; the log says why."
    assert "canary-of-the-database" not in ended.stdout + ended.stderr


@pytest.mark.slow
def test_server_on_a_taken_port_says_so(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        ended = subprocess.run(
            _command("server", "--port", str(port)), capture_output=True, text=True, timeout=DEADLINE_SECONDS, env=_environment(tmp_path)
        )

    assert ended.returncode == 78
    assert f"port {port}" in ended.stderr
    assert not (tmp_path / "data").exists()
