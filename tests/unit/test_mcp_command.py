"""`apviso mcp` where it cannot begin: the exit code of each cause, and no secret in what it says."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from apviso.cli import main
from apviso.protocol.tokens import Namespace, new_token


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The command line in this process; the exit code."""
    for name in ("APVISO_API_URL", "APVISO_API_KEY", "APVISO_MCP_TOKEN"):
        monkeypatch.delenv(name, raising=False)

    def command(*words: str, **environ: str) -> object:
        for name, value in environ.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(sys, "argv", ["apviso", "mcp", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code

    return command


@pytest.mark.parametrize(
    ("words", "environ", "code", "word"),
    [
        ((), {"APVISO_API_URL": "http://127.0.0.1:9"}, 78, "APVISO_API_KEY"),
        ((), {"APVISO_API_URL": "http://127.0.0.1:9", "APVISO_API_KEY": "a-key-that-is-none"}, 78, "shape"),
        (("--http", "127.0.0.1"), {}, 64, "HOST:PORT"),
        (("--http", "0.0.0.0:0"), {}, 64, "--allow-host"),
        (("--http", "0"), {"APVISO_MCP_TOKEN": "a-token-that-is-short"}, 78, "APVISO_MCP_TOKEN"),
        (("--allow-host", "scans.example"), {}, 64, "--http"),
        (("--no-such-flag",), {}, 64, "--no-such-flag"),
    ],
)
def test_command_with_settings_that_make_no_sense_ends_with_their_code(
    run: Any, capfd: pytest.CaptureFixture[str], words: tuple[str, ...], environ: dict[str, str], code: int, word: str
) -> None:
    ended = run(*words, **environ)

    said = capfd.readouterr()
    assert (ended, said.out) == (code, "")
    assert word in said.err
    assert not any(secret in said.err for secret in ("a-key-that-is-none", "a-token-that-is-short"))


def test_command_without_its_library_says_what_to_install(
    run: Any, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    missing: Any = None
    monkeypatch.setitem(sys.modules, "mcp.server", missing)

    code = run(APVISO_API_URL="http://127.0.0.1:9", APVISO_API_KEY=new_token(Namespace.API_KEY).reveal())

    assert code == 78
    assert 'pip install "apviso[mcp]"' in capfd.readouterr().err
