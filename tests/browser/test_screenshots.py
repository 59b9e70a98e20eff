"""Pictures of the dashboard. `make screenshots` keeps them in docs/screenshots; as a test they are made, weighed and thrown away."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.browser.desk import Desk
from tests.browser.hand import Hand, found, log
from tests.end_to_end.conftest import QUICK
from tests.end_to_end.installation import Installation

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
KEPT = Path(__file__).parents[2] / "docs" / "screenshots"
# Name of the picture, section, colors, width.
PICTURES = [
    ("overview", "/", "light", 1280),
    ("runners", "/runners", "light", 1280),
    ("add-runner", "/runners/add", "light", 1280),
    ("scan", "scan", "light", 1280),
    ("finding", "finding", "dark", 1280),
    ("runners-phone", "/runners", "dark", 390),
]
FLAWS = [
    found("SQL injection in a search", "critical", parameter="q", cweId=89, evidence="q=1' -- 500", remediation="Bind values."),
    found("Reflected script", "high", parameter="name", cweId=79),
    found("Page may be framed", "medium", cweId=1021),
    found("Server tells its version", "info", cweId=200),
]
LOG = [log(text) for text in ("wapiti: 41 pages", "sqlmap: 12 parameters", "sslyze: TLS 1.2, 1.3")] + [
    log("one page answered 500", "warning")
]


@pytest.fixture(scope="module")
def stage(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Desk, dict[str, str]]]:
    """A small fleet with one scan that is done and one that waits."""
    settings = QUICK | {"APVISO_TIMERS__OFFLINE_AFTER": "PT600S", "APVISO_TIMERS__HEARTBEAT_LATE_AFTER": "PT300S"}
    made = Installation(tmp_path_factory.mktemp("pictures"), settings)
    with made.stack:
        made.start()
        desk = Desk(browser, made)
        desk.sign_up(email="owner@example.com", name="Owner")
        fleet = {
            name: Hand(made, name).enroll(labels=labels, containerEngine=engine)
            for name, labels, engine in (
                ("datacenter-1", ["datacenter", "linux"], "docker"),
                ("datacenter-2", ["datacenter", "linux"], "podman"),
                ("laboratory", ["lab"], "process"),
            )
        }
        made.call("POST", f"/runners/{fleet['laboratory'].id}/pause", {"note": "kernel update"})
        places = {}
        for domain in ("shop.internal:8443", "wiki.internal"):
            target = made.call("POST", "/targets", {"domain": domain, "visibility": "private_internal"})["target"]
            wanted = {"targetId": target["id"], "whenUnavailable": "queue", "runnerId": fleet["datacenter-1"].id}
            scan = made.call("POST", "/scans", wanted)["scan"]["id"]
            places.setdefault("scan", f"/scans/{scan}")
            if domain.startswith("shop"):
                hand = fleet["datacenter-1"].take()
                hand.say(*LOG, *FLAWS, {"type": "progress", "percent": 100, "requests": 1703})
                hand.end()
        worst = made.call("GET", "/findings?limit=1&sort=-severity")["findings"][0]
        yield desk, places | {"finding": f"/findings/{worst['id']}"}


@pytest.mark.parametrize(("name", "where", "scheme", "width"), PICTURES)
def test_picture_shows_a_page_that_is_filled(
    stage: tuple[Desk, dict[str, str]], tmp_path: Path, name: str, where: str, scheme: str, width: int
) -> None:
    desk, places = stage
    folder = KEPT if os.environ.get("APVISO_KEEP_SCREENSHOTS") else tmp_path
    folder.mkdir(exist_ok=True)
    with desk.page(places.get(where, where), color_scheme=scheme, viewport={"width": width, "height": 800}) as page:
        page.wait_for_timeout(300)
        page.screenshot(path=folder / f"{name}.png")

    # An empty page of this size has some five thousand bytes.
    assert (folder / f"{name}.png").stat().st_size > 15_000


def test_every_picture_is_kept_and_shown() -> None:
    assert {file.stem for file in KEPT.glob("*.png")} == {name for name, *_ in PICTURES}
    readme = (KEPT.parents[1] / "README.md").read_text()
    assert "docs/screenshots/overview.png" in readme
