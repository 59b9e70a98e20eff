"""`apviso scan-image check`: the example and the product's own image pass, and each breach is found by the check that is meant for it."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from apviso.cli.exits import Exit
from apviso.runner.conformance.checks import CHECKS, Check, Outcome, judge_trials
from apviso.runner.conformance.situations import Situation
from apviso.runner.conformance.trial import Stand, run_trial
from apviso.runner.engines.container_engine import ContainerEngine
from tests.containers.contract_programs import FAILURES, WARNINGS, Breach
from tests.containers.javascript_image import CONTAINERFILE, EXAMPLE, build_javascript_image
from tests.containers.private_engine import PrivateEngine
from tests.containers.running import INSTALLATION

pytestmark = pytest.mark.slow
TAG = "apviso-scan-js:test"


@pytest.fixture(scope="module")
def javascript_image(engine_here: PrivateEngine) -> str:
    if shutil.which("node") is None and "CI" not in os.environ:
        pytest.skip("the example in JavaScript needs Node")
    return build_javascript_image(engine_here.client, TAG)


def command(socket_file: Path, *words: str) -> tuple[list[str], dict[str, str]]:
    environment = {name: value for name, value in os.environ.items() if name != "CONTAINER_HOST"}
    return [sys.executable, "-m", "apviso", "scan-image", "check", *words], {**environment, "DOCKER_HOST": f"unix://{socket_file}"}


def checked(socket_file: Path, *words: str) -> subprocess.CompletedProcess[str]:
    line, environment = command(socket_file, *words)
    return subprocess.run(line, env=environment, capture_output=True, text=True, timeout=500)


def report_on(here: PrivateEngine, image: str) -> dict[str, Any]:
    ended = checked(here.socket_file, image, "--json")
    assert ended.returncode == Exit.OK, ended.stdout + ended.stderr
    told: dict[str, Any] = json.loads(ended.stdout)
    return told


async def trial_of(here: PrivateEngine, image: str, situation: Situation, scanners_dir: Path, folder: Path) -> list[Check]:
    engine = ContainerEngine("docker", here.socket_file, image, INSTALLATION)
    trial = await run_trial(Stand(engine, await engine.prepare(None), scanners_dir, folder), situation)
    return judge_trials({situation: trial})


def codes(found: list[Check], *outcomes: Outcome) -> set[str]:
    return {check.code for check in found if check.outcome in outcomes}


def test_example_in_another_language_passes_every_check(engine_here: PrivateEngine, javascript_image: str) -> None:
    told = report_on(engine_here, TAG)

    assert [(check["code"], check["outcome"]) for check in told["checks"]] == [(code, "passed") for code in CHECKS], told
    assert (told["conforms"], told["imageId"]) == (True, javascript_image)
    assert engine_here.containers() == []


# Three whole scans by the real scanner.
@pytest.mark.timeout(600)
def test_scan_image_of_the_product_passes_every_check(engine_here: PrivateEngine) -> None:
    told = report_on(engine_here, engine_here.image)

    assert [(check["code"], check["outcome"]) for check in told["checks"]] == [(code, "passed") for code in CHECKS], told
    assert engine_here.containers() == []


@pytest.mark.parametrize("breach", FAILURES, ids=lambda breach: breach.name)
async def test_breach_of_the_contract_fails_the_check_that_is_meant_for_it(
    engine_here: PrivateEngine, scanners_dir: Path, tmp_path: Path, breach: Breach
) -> None:
    found = await trial_of(engine_here, engine_here.image_of(breach.program), breach.situation, scanners_dir, tmp_path)

    assert codes(found, Outcome.FAILED) == breach.codes, found
    assert codes(found, Outcome.WARNING) == set()
    assert all(check.fix for check in found if check.outcome is Outcome.FAILED)
    assert "\x1b" not in "".join(check.message for check in found)
    assert engine_here.containers() == []


@pytest.mark.parametrize("breach", WARNINGS, ids=lambda breach: breach.name)
async def test_breach_that_the_guard_stops_is_a_warning(
    engine_here: PrivateEngine, scanners_dir: Path, tmp_path: Path, breach: Breach
) -> None:
    found = await trial_of(engine_here, engine_here.image_of(breach.program), breach.situation, scanners_dir, tmp_path)

    assert codes(found, Outcome.WARNING) == breach.codes, found
    assert codes(found, Outcome.FAILED) == set()


def test_image_that_cannot_start_is_told_once_with_the_fix(engine_here: PrivateEngine) -> None:
    made = engine_here.client.api.create_container(engine_here.image)
    told = engine_here.client.api.commit(made["Id"], repository="apviso-broken", changes=['ENTRYPOINT ["/no-such-program"]'])
    engine_here.client.api.remove_container(made["Id"])

    ended = checked(engine_here.socket_file, told["Id"])

    assert ended.returncode == Exit.CHECK_FAILED
    assert re.search(r"FAILED +starts .*no-such-program", ended.stdout)
    assert "next: Give the image an ENTRYPOINT" in ended.stdout
    assert len(re.findall(r"^- ", ended.stdout, re.MULTILINE)) == len(CHECKS) - 1
    assert engine_here.containers() == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_check_that_is_interrupted_leaves_nothing_behind(engine_here: PrivateEngine, number: signal.Signals) -> None:
    image = engine_here.image_of("import sys\nsys.stdin.read()")
    line, environment = command(engine_here.socket_file, image)
    process = subprocess.Popen(line, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    wait_until_running(engine_here)

    process.send_signal(number)
    process.communicate(timeout=60)

    assert process.returncode == 128 + number
    assert engine_here.containers() == []


def wait_until_running(here: PrivateEngine) -> None:
    deadline = time.monotonic() + 60
    while not here.client.containers.list():
        assert time.monotonic() < deadline, "no container was started"
        time.sleep(0.05)


def test_image_that_the_engine_does_not_have_is_an_error_of_usage(engine_here: PrivateEngine) -> None:
    ended = checked(engine_here.socket_file, "apviso-scan-of-nobody")

    assert (ended.returncode, ended.stdout) == (Exit.USAGE, "")
    assert "no image 'apviso-scan-of-nobody'" in ended.stderr


def test_check_without_an_engine_says_that_it_is_unreachable(tmp_path: Path) -> None:
    ended = checked(tmp_path / "no.sock", "apviso-scan")

    assert ended.returncode == Exit.UNREACHABLE
    assert "DOCKER_HOST" in ended.stderr


def test_example_as_it_is_printed_stays_short() -> None:
    lines = [line for line in (EXAMPLE / "scan.js").read_text().splitlines() if line.strip() and not line.lstrip().startswith("//")]

    assert len(lines) <= 35
    assert set(re.findall(r"require\('([^']+)'\)", "\n".join(lines))) == {"node:http", "node:readline"}
    assert re.search(r"^FROM node:\d+-slim$", CONTAINERFILE.read_text(), re.MULTILINE)
