"""`apviso scan-image check`: the example and the product's own image pass, and each breach is found by the check that is meant for it."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import time
from asyncio.subprocess import PIPE
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from apviso.cli.exits import Exit
from apviso.protocol.scan_events import CoverageLine, Found
from apviso.runner.conformance.checks import CHECKS, Check, Outcome, judge_trials
from apviso.runner.conformance.situations import Situation
from apviso.runner.conformance.trial import Stand, run_trial
from apviso.runner.engines.container_engine import ContainerEngine
from apviso.runner.engines.signatures import Trust
from apviso.runner.output import parse_line
from apviso.scanning import relay
from apviso.scanning.guard import rules_for, start_guard
from apviso.scanning.verdict import ScanExit
from tests.containers.contract_programs import FAILURES, WARNINGS, Breach
from tests.containers.javascript_image import CONTAINERFILE, EXAMPLE, build_javascript_image
from tests.containers.private_engine import PrivateEngine
from tests.containers.private_registry import PrivateRegistry
from tests.containers.running import INSTALLATION
from tests.scanning.certificates import self_signed
from tests.scanning.orders import limits_of, order_for, target_at

pytestmark = pytest.mark.slow
TAG = "apviso-scan-js:test"


@pytest.fixture(scope="module")
def javascript_image(engine_here: PrivateEngine, node: str) -> str:
    return build_javascript_image(engine_here.client, Path(node), TAG)


def command(socket_file: Path, *words: str) -> tuple[list[str], dict[str, str]]:
    nowhere = f"unix://{socket_file.parent / 'podman.sock'}"
    environment = {**os.environ, "DOCKER_HOST": f"unix://{socket_file}", "CONTAINER_HOST": nowhere}
    return [sys.executable, "-m", "apviso", "scan-image", "check", *words], environment


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


async def test_example_signed_in_a_registry_is_fetched_and_scans_a_target(
    engine_here: PrivateEngine, registry: PrivateRegistry, javascript_image: str, scanners_dir: Path, tmp_path: Path
) -> None:
    """As the how-to has it: pushed, signed by its digest, named in the runner's settings with the key."""
    pushed = registry.push(replace(engine_here, image=javascript_image), "scan/javascript")
    key = registry.new_key("scan-images")
    registry.sign(pushed, key)
    engine = ContainerEngine("docker", engine_here.socket_file, pushed, INSTALLATION, Trust("require", key))
    trial = await run_trial(Stand(engine, await engine.prepare(None), scanners_dir, tmp_path), Situation.ORDINARY)
    engine_here.client.images.remove(pushed)

    assert codes(judge_trials({Situation.ORDINARY: trial}), Outcome.FAILED, Outcome.WARNING) == set()
    assert (trial.exit_code, trial.paths) == (ScanExit.LOOKED, [trial.scan_path])


async def test_example_reaches_a_target_with_tls_through_the_socket_file(node: str, scanners_dir: Path, tmp_path: Path) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nX-Frame-Options: DENY\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0, ssl=self_signed(tmp_path)) as server:
        url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        guard = await start_guard(rules_for("scan-1", target_at(url), limits_of(), {}, None), scanners_dir, tmp_path, 60)
        try:
            async with relay.from_socket(tmp_path / "proxy.sock", int(guard.proxy_url.rpartition(":")[2])):
                order = order_for(url).model_copy(update={"proxy_socket": str(tmp_path / "proxy.sock")})
                process = await asyncio.create_subprocess_exec(node, EXAMPLE / "scan.js", stdin=PIPE, stdout=PIPE)
                assert process.stdin is not None
                assert process.stdout is not None
                process.stdin.write(order.model_dump_json(by_alias=True).encode() + b"\n")
                said = [parse_line(line) for line in (await process.stdout.read()).splitlines()]
                code = await process.wait()
        finally:
            counters = await guard.close()

    assert code == ScanExit.LOOKED
    assert [line.finding.title for line in said if isinstance(line, Found)] == [
        "Missing header content-security-policy",
        "Missing header x-content-type-options",
    ]
    assert said[-1] == CoverageLine(complete=True, pages=1)
    assert (counters.requests, counters.refused) == (1, 0)


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
