"""The whole chain in containers: a control plane, a runner, the scan image with its four scanners, and shops whose flaws are known."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pytest

from apviso.demo import truth
from apviso.protocol.findings import Finding
from tests.containers.private_engine import PrivateEngine
from tests.end_to_end.installation import Installation, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1_200)]
SCANNERS = ("wapiti", "sqlmap", "schemathesis", "sslyze")
CARELESS = (*truth.FLAWS_OF_PAGES, *truth.FLAWS_OF_FORMS, *truth.FLAWS_OF_API, *truth.FLAWS_OF_TLS)
HARDENED = truth.FLAWS_OF_HARDENED_TLS
END_SECONDS = 900.0


@dataclass(frozen=True)
class Shop:
    preset: str
    hardened: bool

    @property
    def planted(self) -> tuple[truth.Flaw, ...]:
        return HARDENED if self.hardened else CARELESS


# The smaller of the presets with all scanners has to find everything, the larger one must raise no false alarm.
SHOPS = (Shop("medium", hardened=False), Shop("high", hardened=True))


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory, engine_here: PrivateEngine) -> Iterator[Installation]:
    made = Installation(tmp_path_factory.mktemp("four"), {"APVISO_REQUESTS_PER_MINUTE": "10000"})
    with made.stack:
        made.start()
        workspace = made.folder / "north"
        workspace.mkdir(mode=0o700)
        settings: dict[str, Any] = {"engine": "docker", "engine_socket": str(engine_here.socket_file), "scan_image": engine_here.image}
        settings["concurrency"] = len(SHOPS)
        (workspace / "runner.toml").write_text("".join(f"{name} = {json.dumps(value)}\n" for name, value in settings.items()))
        made.start_runner("north", made.enroll("north"))
        wait_for(lambda: made.call("GET", "/runners")["runners"][0]["acceptingJobs"], 60, "the runner accepts")
        yield made


@pytest.fixture(scope="module")
def scans(installation: Installation) -> dict[Shop, str]:
    """At once: a shop and a scan each."""
    addresses = {shop: installation.open_shop(hardened=shop.hardened, tls=True) for shop in SHOPS}
    targets = {shop: installation.add_target(address) for shop, address in addresses.items()}
    return {shop: installation.start_scan(target, modelPreset=shop.preset) for shop, target in targets.items()}


@pytest.mark.parametrize("shop", SHOPS, ids=lambda shop: f"{shop.preset}-{'hardened' if shop.hardened else 'careless'}")
def test_scan_in_a_container_finds_what_is_there_with_all_four_scanners_and_nothing_else(
    shop: Shop, installation: Installation, scans: dict[Shop, str], record_property: Callable[[str, object], None]
) -> None:
    ended = installation.wait_for_end(scans[shop], END_SECONDS)

    listed = installation.call("GET", f"/scans/{ended['id']}/findings?limit=100")["findings"]
    findings = [Finding.model_validate(found) for found in listed]
    record_property("measured", told(shop, ended, findings, installation.log(ended["id"])))
    assert (ended["status"], ended["coverage"]["complete"]) == ("completed", True), ended["coverage"]
    compared = truth.compare(findings, shop.planted)
    assert (compared.missed, compared.false_alarms) == ((), ())
    assert truth.silent_detectors(findings, shop.planted, SCANNERS) == ()


def told(shop: Shop, scan: dict[str, Any], findings: list[Finding], events: list[dict[str, Any]]) -> str:
    """One line for whoever reads the test's output: how long it took, what it cost, what each scanner found."""
    began, at_last = (datetime.fromisoformat(events[place]["at"]) for place in (0, -1))
    by_scanner = {name: sum(name in finding.detectors for finding in findings) for name in SCANNERS}
    spent = f"{(at_last - began).total_seconds():.0f} s, {scan['progress']['requests']} requests"
    return f"{shop.preset}, {'hardened' if shop.hardened else 'careless'}: {spent}, {len(findings)} findings, {by_scanner}"
