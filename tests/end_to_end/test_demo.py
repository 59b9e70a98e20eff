"""`apviso demo` as a person runs it: it ends by itself, shows what it promises, and leaves nothing but the report."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]
# The promise is four minutes after installation on two cores.
DEMO_SECONDS = 240


def _run_demo(tmp_path: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"TMPDIR": str(tmp_path), "COLUMNS": "200"}
    command = [sys.executable, "-m", "apviso", "demo"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=DEMO_SECONDS)


def _left_behind(tmp_path: Path) -> list[str]:
    """Command lines of processes that still name the demo's folder."""
    lines = []
    for process in psutil.process_iter(["cmdline", "environ"]):
        words = [*(process.info["cmdline"] or []), *(process.info["environ"] or {}).values()]
        if process.pid != os.getpid() and any(str(tmp_path / "apviso-demo-") in word for word in words):
            lines.append(" ".join(process.info["cmdline"] or []))
    return lines


def test_demo_shows_one_scan_from_enrollment_to_report(tmp_path: Path) -> None:
    ended = _run_demo(tmp_path)

    assert ended.returncode == 0, ended.stdout[-3000:] + ended.stderr[-3000:]
    for promised in ("runner_registered", "Not ready: No runner is registered.", "Ready.", "SQL injection in id", "API: http://127.0.0.1:"):
        assert promised in ended.stdout
    report = re.search(r"^Report: (.+)$", ended.stdout, re.MULTILINE)
    assert report is not None
    assert "# Security test of 127" in Path(report[1]).read_text(encoding="utf-8")
    assert [path.name for path in Path(report[1]).parent.parent.iterdir()] == ["report"]
    assert _left_behind(tmp_path) == []
