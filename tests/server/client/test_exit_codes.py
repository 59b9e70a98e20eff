"""The exit code of every user command for every way to be refused, and `--json` on each: a build depends on both."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest
import typer

from apviso.cli import app
from apviso.protocol.tokens import Namespace, new_token

USERS = ("runners", "readiness", "targets", "scan", "findings", "report", "schedules", "webhooks", "api-keys")
SOME_ID = "01890a5d-ac96-774b-bcce-b302099a8057"
# What a command needs beside an identity for each of its arguments.
MORE = {"schedules add": ("--cron", "0 3 * * *"), "api-keys create": ("--scope", "scans:read")}
ARGUMENTS = {"URL": "https://hooks.example.com/", "STATUS": "open", "DOMAIN": "shop.example.com", "NAME": "ci"}


def _commands(group: Any, *path: str) -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _commands(command, *path, name)
        else:
            yield " ".join((*path, name)), command


# Made once: it takes longer than a command.
EVERYTHING: Any = typer.main.get_command(app)
COMMANDS = {path: command for path, command in _commands(EVERYTHING) if path.split()[0] in USERS}


def words_of(path: str) -> list[str]:
    """The command with everything that it needs."""
    needed = [one for one in COMMANDS[path].params if one.param_type_name == "argument"]
    return [*path.split(), *(ARGUMENTS.get((one.metavar or one.name).upper(), SOME_ID) for one in needed), *MORE.get(path, ())]


@contextmanager
def somebody_who_says(status: int, body: bytes) -> Iterator[str]:
    """The address of a server that gives every call this answer."""

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("content-length", "0")))
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_PATCH = do_DELETE = answer  # noqa: N815  # the library's names

        def log_message(self, *_: object) -> None:
            return None

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def problem(status: int, code: str) -> bytes:
    told = {"type": f"/problems/{code}", "title": "No", "status": status, "detail": "No.", "code": code, "error": "No.", "requestId": "r-1"}
    return json.dumps(told | {"retryable": False}).encode()


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The command line in this process; the exit code."""
    monkeypatch.setenv("APVISO_API_KEY", new_token(Namespace.API_KEY).reveal())
    monkeypatch.delenv("APVISO_CUSTOM_CA_PATH", raising=False)

    def command(words: list[str], url: str) -> object:
        monkeypatch.setenv("APVISO_API_URL", url)
        return EVERYTHING.main(words, prog_name="apviso", standalone_mode=False)

    return command


@pytest.mark.parametrize(
    ("status", "code", "exit_code"),
    [
        (401, "credential_invalid", 77),
        (402, "license_limit_reached", 2),
        (403, "insufficient_scope", 77),
        (403, "target_unverified", 2),
        (404, "target_not_found", 64),
        (409, "runner_not_ready", 2),
        (409, "scan_already_active", 75),
        (422, "invalid_fields", 64),
        (429, "rate_limited", 75),
        (500, "internal_error", 75),
    ],
)
def test_refusal_ends_a_command_with_the_code_of_its_family(run: Any, status: int, code: str, exit_code: int) -> None:
    with somebody_who_says(status, problem(status, code)) as url:
        assert run(["targets", "add", "shop.example.com"], url) == exit_code


def test_every_user_command_ends_a_refusal_with_a_code_and_nothing_on_standard_output(run: Any, capfd: pytest.CaptureFixture[str]) -> None:
    with somebody_who_says(403, problem(403, "insufficient_scope")) as url:
        ended = {path: run(words_of(path), url) for path in COMMANDS}

    said = capfd.readouterr()
    assert {path: code for path, code in ended.items() if code != 77} == {}
    assert said.out == ""
    assert said.err.count("request id: r-1") == len(COMMANDS)


def test_address_of_somebody_else_is_a_wrong_setting(run: Any) -> None:
    with somebody_who_says(200, b"<html>Welcome</html>") as url:
        ended = {run(words, url) for words in (["scan", "show", SOME_ID], ["targets", "list"])}

    assert ended == {78}


def test_every_user_command_answers_as_json_where_it_is_asked() -> None:
    without = [path for path, command in COMMANDS.items() if not any("--json" in one.opts for one in command.params)]

    assert len(COMMANDS) > 30
    assert without == []
