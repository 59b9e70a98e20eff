"""Trust in images to the end of the chain: runners with different images, and what a person reads on the scan."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.containers.private_engine import PrivateEngine
from tests.containers.private_registry import PrivateRegistry
from tests.containers.small_images import idle_image
from tests.end_to_end.conftest import QUICK
from tests.end_to_end.installation import Installation, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


def push_new(here: PrivateEngine, registry: PrivateRegistry, name: str) -> str:
    """A small image of its own, in the registry and no more in the engine; it ends well and does nothing."""
    image = idle_image(here.client, name)
    # With its only name the push takes it out of the engine.
    return registry.push(replace(here, image=image), f"scan/{name}")


def tamper_with_newest_layer(registry: PrivateRegistry, image: str) -> None:
    """Other content under the same digest, as someone with the registry's disk could do it."""
    digest = image.partition("@")[2].removeprefix("sha256:")
    blobs = registry.folder / "registry" / "docker" / "registry" / "v2" / "blobs" / "sha256"
    manifest = json.loads((blobs / digest[:2] / digest / "data").read_bytes())
    layer = manifest["layers"][-1]["digest"].removeprefix("sha256:")
    data = blobs / layer[:2] / layer / "data"
    content = bytearray(data.read_bytes())
    content[-1] ^= 0xFF
    data.write_bytes(bytes(content))


def start_runner(installation: Installation, here: PrivateEngine, name: str, image: str, key: Path) -> None:
    workspace = installation.folder / name
    workspace.mkdir(mode=0o700)
    settings = {"engine": "docker", "engine_socket": str(here.socket_file), "scan_image": image, "image_key": str(key)}
    (workspace / "runner.toml").write_text("".join(f"{setting} = {json.dumps(value)}\n" for setting, value in settings.items()))
    installation.enroll(name)
    installation.start_runner(name, workspace)


@pytest.fixture(scope="module")
def ended(
    tmp_path_factory: pytest.TempPathFactory, engine_here: PrivateEngine, registry: PrivateRegistry
) -> Iterator[dict[str, dict[str, Any]]]:
    """One scan by each runner, by the fault of its image."""
    key, other = registry.new_key("chain-ours"), registry.new_key("chain-theirs")
    images = {name: push_new(engine_here, registry, name) for name in ("fit", "tampered", "stranger", "unsigned")}
    for name in ("fit", "tampered"):
        registry.sign(images[name], key)
    registry.sign(images["stranger"], other)
    tamper_with_newest_layer(registry, images["tampered"])
    images["wrong-digest"] = f"{images['fit'].partition('@')[0]}@sha256:{'1' * 64}"
    images["away"] = f"127.0.0.1:1/scan/away@sha256:{'2' * 64}"
    made = Installation(tmp_path_factory.mktemp("trust"), dict(QUICK))
    with made.stack:
        made.start()
        for name, image in images.items():
            start_runner(made, engine_here, name, image, key)
        wait_for(lambda: all(runner["acceptingJobs"] for runner in made.call("GET", "/runners")["runners"]), 90, "all runners accept")
        ids = {runner["name"]: runner["id"] for runner in made.call("GET", "/runners")["runners"]}
        scans = {name: made.start_scan(made.add_target(made.open_shop()), runnerId=ids[name]) for name in images}
        yield {name: made.wait_for_end(scan) for name, scan in scans.items()}
    for tag in [tag for image in engine_here.client.images.list() for tag in image.attrs["RepoDigests"]]:
        engine_here.client.images.remove(tag, force=True)


@pytest.mark.parametrize(
    ("fault", "reason", "sentence"),
    [
        ("tampered", "image_refused", "verification failed"),
        ("stranger", "image_refused", "carries no signature by the key in"),
        ("unsigned", "image_refused", "carries no signature by the key in"),
        ("wrong-digest", "image_refused", "carries no signature by the key in"),
        ("away", "image_unavailable", "The registry 127.0.0.1:1 cannot be asked"),
    ],
)
def test_scan_with_an_image_that_is_not_fit_ends_with_a_sentence(
    ended: dict[str, dict[str, Any]], fault: str, reason: str, sentence: str
) -> None:
    scan = ended[fault]

    assert (scan["status"], scan["endReason"]) == ("failed", reason), scan
    assert sentence in scan["statusReason"]
    assert not scan["coverage"]["complete"]
    assert (scan["startedAt"], scan["scanImageDigest"]) == (None, None)
    # Another registry may answer in a while; another content under the same digest never will.
    assert scan["attempt"] == (3 if reason == "image_unavailable" else 1)


def test_scan_with_a_signed_image_runs_and_shows_its_digest(ended: dict[str, dict[str, Any]]) -> None:
    scan = ended["fit"]

    assert scan["endReason"] == "scanner_failed"
    assert "without saying what it covered" in scan["statusReason"]
    assert scan["scanImageDigest"].startswith("sha256:")
