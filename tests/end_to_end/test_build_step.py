"""The steps for builds as they are shipped, in a shell, with a real control plane and a real runner; its scan says what the test wants."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml

from tests.end_to_end.installation import Installation
from tests.upkeep.sources import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
# Reads its order, looks once through the guard, and says the lines that the test has written down.
PROGRAM = """
import json, pathlib, sys, urllib.request
order = json.loads(sys.stdin.readline())
proxies = urllib.request.ProxyHandler({"http": order["proxyUrl"]})
urllib.request.build_opener(proxies).open(order["target"]["scanUrl"], timeout=20).read()
print(pathlib.Path(sys.argv[1]).read_text(), flush=True)
"""
FLAW = {"type": "finding", "finding": {"title": "Open door", "severity": "high", "url": "http://127.0.0.1/"}}
WHOLE = {"type": "coverage", "complete": True, "reasons": [], "pages": 1}
PARTIAL = WHOLE | {"complete": False, "reasons": ["half of it was closed"]}


def gitlab(part: str) -> str:
    job = yaml.safe_load((ROOT / "deploy/ci/gitlab-ci.yml").read_text(encoding="utf-8"))["security-test"]
    return "\n".join(job[part])


def github(name: str) -> str:
    steps = yaml.safe_load((ROOT / "deploy/ci/github-actions.yml").read_text(encoding="utf-8"))["jobs"]["scan"]["steps"]
    return str(next(step["run"] for step in steps if step["name"] == name))


@pytest.mark.parametrize("script", [gitlab("after_script"), github("Report")], ids=["gitlab", "github"])
def test_step_that_keeps_the_report_has_nothing_to_do_without_an_ended_scan(tmp_path: Path, script: str) -> None:
    # What the step before leaves when it was refused.
    (tmp_path / "scan.json").touch()

    ran = subprocess.run(["bash", "-eo", "pipefail", "-c", script], cwd=tmp_path, env={"PATH": os.environ["PATH"]}, capture_output=True)

    assert (ran.returncode, ran.stderr) == (0, b"")


@dataclass(frozen=True)
class Build:
    """A machine that builds: a folder, the commands on its path, the variables of the project."""

    installation: Installation
    target: str
    lines: Path

    def run(self, script: str) -> subprocess.CompletedProcess[str]:
        """As both services do: stop at the first command that fails."""
        environment = {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "APVISO_API_URL": self.installation.url,
            "APVISO_API_KEY": self.installation.api_key,
            "TARGET": self.target,
            "GITHUB_STEP_SUMMARY": str(self.folder / "summary.md"),
        }
        command = ["bash", "-eo", "pipefail", "-c", script]
        return subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True, timeout=120)

    @property
    def folder(self) -> Path:
        return self.lines.parent

    def scan_says(self, *lines: dict[str, Any]) -> None:
        self.lines.write_text("\n".join(json.dumps(line) for line in lines))


@pytest.fixture
def build(installation: Installation) -> Build:
    lines = installation.folder / "build" / "lines"
    lines.parent.mkdir()
    workspace = installation.enroll("build-runner")
    command = json.dumps([sys.executable, "-c", PROGRAM, str(lines)])
    (workspace / "runner.toml").write_text(f"scan_command = {command}\n")
    installation.start_runner("build-runner", workspace)
    url = installation.open_shop()
    installation.add_target(url)
    return Build(installation, httpx2.URL(url).netloc.decode(), lines)


def test_build_fails_for_a_grave_finding_or_a_partial_scan_and_passes_otherwise(build: Build) -> None:
    ready = build.run("apviso runners wait build-runner --timeout 60")
    assert ready.returncode == 0, ready.stderr

    build.scan_says(FLAW, WHOLE)
    found = build.run(gitlab("script"))
    report = build.run(gitlab("after_script"))
    summary = build.run(github("Report"))

    build.scan_says(WHOLE)
    clean = build.run(github("Scan"))

    build.scan_says(PARTIAL)
    partial = build.run(gitlab("script"))
    allowed = build.run('apviso scan start "$TARGET" --queue --wait --allow-partial')
    # A shell that asks for the code itself.
    asked = build.run('if apviso scan start "$TARGET" --queue --wait --fail-on high; then echo passed; else echo "failed with $?"; fi')

    assert (found.returncode, "FAILED: high: Open door" in found.stderr) == (2, True), found
    assert (report.returncode, summary.returncode) == (0, 0), report.stderr + summary.stderr
    assert "Open door" in (build.folder / "report.md").read_text()
    assert "Open door" in (build.folder / "summary.md").read_text()
    assert clean.returncode == 0, clean.stderr
    assert (partial.returncode, "half of it was closed" in partial.stderr) == (2, True), partial
    assert allowed.returncode == 0, allowed.stderr
    assert asked.stdout.splitlines()[-1] == "failed with 2", asked
