"""What the server's log shows of words that are not its own."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
import structlog

from apviso.server import logs

HOSTILE = "\x1b[2J\x9b2J\r\n2026-05-03 [error] forged\u2028\u202e\x00\x07"


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    root, configured = logging.getLogger(), structlog.get_config()
    handlers, level = root.handlers, root.level
    yield
    root.handlers, root.level = handlers, level
    structlog.configure(**configured)


def _fail() -> None:
    raise ValueError(HOSTILE)


def test_control_characters_in_a_line_of_the_log_are_shown_as_escapes(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", "text")

    structlog.get_logger("apviso.test").warning("happened", path=HOSTILE, count=3)
    logging.getLogger("apviso.other").warning("said %s", HOSTILE)
    try:
        _fail()
    except ValueError:
        structlog.get_logger("apviso.test").exception("failed", path=HOSTILE)

    told = capsys.readouterr().err
    assert told.count("forged") == 4
    assert "count=3" in told
    assert "Traceback" in told
    assert [sign for sign in told if not sign.isprintable() and sign not in "\n\t"] == []
    assert [line for line in told.splitlines() if line.startswith("2026-05-03 [error]")] == []
