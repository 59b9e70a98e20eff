"""What others wrote, on a person's terminal: readable, and no command to it."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from apviso.protocol.states import AdminState
from apviso.runner.reading_logs import readable
from apviso.runner.status_file import DaemonStatus, JobStatus
from apviso.runner.status_text import status_lines

NOW = datetime(2026, 5, 3, 9, 15, 32, tzinfo=UTC)


@pytest.mark.parametrize("hostile", ["\x1b]0;owned\x07", "\x9b31m", "\r", "\u202e", "\ud800"])
def test_log_line_with_a_control_character_shows_its_escape(hostile: str) -> None:
    shown = [readable(json.dumps({"level": "info", "event": hostile, "url": hostile})), readable(f"no json {hostile}")]

    assert all(sign.isprintable() for line in shown for sign in line)
    assert all(hostile.encode("unicode_escape").decode() in line for line in shown)


def test_log_line_with_a_trace_keeps_its_lines_apart_from_those_of_the_log() -> None:
    shown = readable(json.dumps({"level": "error", "event": "broken", "exception": "Traceback\n\tline 1"}))

    assert shown == "error  broken  exception=Traceback\n    \tline 1"


def test_status_with_a_control_character_in_a_phase_shows_its_escape() -> None:
    job = JobStatus(job_id="j", attempt=1, scan_id="s", target="t", phase="crawl\x1b[2J\nfake", stopping=None, since=NOW)
    status = DaemonStatus(
        pid=1, version="1", api_url="http://c", runner_id=None, name="north", started_at=NOW, last_heartbeat_at=None,
        status=None, admin_state=AdminState.ENABLED, not_accepting=None, last_problem=None, concurrency=1, jobs=[job],
    )  # fmt: skip

    shown = status_lines(status, running=True)

    assert r"crawl\x1b[2J\nfake" in shown[-1]
    assert all(line.isprintable() for line in shown)
