"""A real control plane and a real runner whose scans run in containers."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from apviso.demo import truth
from apviso.protocol.findings import Finding
from tests.containers.private_engine import PrivateEngine
from tests.end_to_end.conftest import QUICK
from tests.end_to_end.installation import Installation, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Installation]:
    made = Installation(tmp_path, dict(QUICK))
    with made.stack:
        yield made.start()


@pytest.fixture
def workspace(installation: Installation, engine_here: PrivateEngine) -> Path:
    made = installation.folder / "north"
    made.mkdir(mode=0o700)
    settings = {"engine": "docker", "engine_socket": str(engine_here.socket_file), "scan_image": engine_here.image}
    (made / "runner.toml").write_text("".join(f"{name} = {json.dumps(value)}\n" for name, value in settings.items()))
    return installation.enroll("north")


def test_scan_in_a_container_survives_the_kill_of_its_runner_and_leaves_nothing(
    installation: Installation, engine_here: PrivateEngine, workspace: Path
) -> None:
    runner = installation.start_runner("north", workspace)
    target = installation.add_target(installation.open_shop())
    scan_id = installation.start_scan(target, modelPreset="low", whenUnavailable="queue")
    wait_for(lambda: installation.scan(scan_id)["progress"]["requests"] > 0, 90, "the scan is under way")
    (first,) = engine_here.containers()

    runner.signal(signal.SIGKILL)
    runner.wait()
    installation.start_runner("north", workspace)

    ended = installation.wait_for_end(scan_id, 240)
    assert (ended["status"], ended["endReason"], ended["attempt"]) == ("completed", "completed", 2), ended
    findings = [Finding.model_validate(found) for found in installation.call("GET", f"/scans/{scan_id}/findings?limit=100")["findings"]]
    compared = truth.compare(findings)
    assert (compared.missed, compared.false_alarms) == ((), ())
    assert first.endswith("-1")
    wait_for(lambda: not engine_here.containers(), 30, "both containers are gone")


def test_runner_tells_its_engine_and_doctor_finds_it_fit(installation: Installation, engine_here: PrivateEngine, workspace: Path) -> None:
    installation.start_runner("north", workspace)
    wait_for(lambda: installation.call("GET", "/runners")["runners"][0]["acceptingJobs"], 60, "the runner accepts")

    (shown,) = installation.call("GET", "/runners")["runners"]
    doctor = json.loads(installation.run("doctor", "--json", workspace=workspace).stdout)

    assert (shown["containerEngine"], shown["capabilities"]["isolation"]) == ("docker", "container")
    told = shown["capabilities"]["engine"]
    assert (told["rootless"], told["image"]) == (False, engine_here.image)
    assert "read-only root" in told["hardening"]
    states = {check["name"]: check["state"] for check in doctor["checks"]}
    assert (states["engine"], states["scan_image"]) == ("ok", "ok")
    assert doctor["engineLimits"] == []
