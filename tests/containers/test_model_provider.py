"""Credentials of a model provider: only for an image that declares its need, only in its order, and only of a provider that it names."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from apviso.runner.engines.container_engine import ContainerEngine
from tests.containers.private_engine import PrivateEngine
from tests.containers.running import INSTALLATION
from tests.end_to_end.conftest import QUICK
from tests.end_to_end.installation import Installation

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

CANARY = "canary-key-of-a-model-provider"
# Tells what it was given as a digest, which nobody takes for the secret itself.
PROGRAM = """
import hashlib, json, os, sys
from pathlib import Path

order = json.loads(sys.stdin.readline())
given = {name: hashlib.sha256(value.encode()).hexdigest() for name, value in order["providerCredentials"].items()}
around = json.dumps(dict(os.environ)) + "".join(path.read_text(errors="replace") for path in Path("/proc").glob("[0-9]*/cmdline"))
print(json.dumps({"type": "log", "message": json.dumps({"given": given, "around": "canary" in around})}), flush=True)
print(json.dumps({"type": "log", "message": "repeated: " + "".join(order["providerCredentials"].values())}), flush=True)
print(json.dumps({"type": "coverage", "complete": True, "reasons": [], "pages": 1}), flush=True)
"""


def labelled(here: PrivateEngine, image: str, label: str) -> str:
    """The image with a label that says which providers it can use."""
    made = here.client.api.create_container(image)
    told = here.client.api.commit(made["Id"], changes=[f'LABEL io.apviso.model-provider="{label}"'])
    here.client.api.remove_container(made["Id"])
    return f"sha256:{told['Id'].removeprefix('sha256:')}"


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Installation]:
    made = Installation(tmp_path, dict(QUICK))
    with made.stack:
        yield made.start()


def scanned_with(installation: Installation, here: PrivateEngine, image: str) -> tuple[dict[str, Any], list[str]]:
    """The ended scan and what its program said; two providers are configured on its runner."""
    workspace = installation.folder / "north"
    workspace.mkdir(mode=0o700)
    settings = {"engine": "docker", "engine_socket": str(here.socket_file), "scan_image": image}
    (workspace / "runner.toml").write_text("".join(f"{name} = {json.dumps(value)}\n" for name, value in settings.items()))
    installation.enroll("north")
    installation.start_runner("north", workspace, ANTHROPIC_API_KEY=CANARY, OPENAI_API_KEY="canary-of-another-provider")
    scan_id = installation.start_scan(installation.add_target(installation.open_shop()), whenUnavailable="queue")
    ended = installation.wait_for_end(scan_id)
    return ended, [event["message"] for event in installation.log(scan_id) if event["type"] == "log"]


async def test_label_of_an_image_is_read_when_it_is_prepared(engine_here: PrivateEngine) -> None:
    image = labelled(engine_here, engine_here.image, "openai, anthropic")

    with_label = await ContainerEngine("docker", engine_here.socket_file, image, INSTALLATION).prepare(None)
    without = await ContainerEngine("docker", engine_here.socket_file, engine_here.image, INSTALLATION).prepare(None)

    assert (with_label.model_providers, without.model_providers) == (("openai", "anthropic"), ())


def test_image_that_declares_its_need_is_given_one_provider_in_its_order_alone(
    installation: Installation, engine_here: PrivateEngine
) -> None:
    image = labelled(engine_here, engine_here.image_of(PROGRAM), "bedrock,anthropic,openai")

    _, said = scanned_with(installation, engine_here, image)

    [told] = [json.loads(message) for message in said if message.startswith("{")]
    assert told == {"given": {"ANTHROPIC_API_KEY": hashlib.sha256(CANARY.encode()).hexdigest()}, "around": False}
    assert "repeated: ******" in said


def test_image_that_declares_no_need_is_given_nothing(installation: Installation, engine_here: PrivateEngine) -> None:
    _, said = scanned_with(installation, engine_here, engine_here.image_of(PROGRAM))

    [told] = [json.loads(message) for message in said if message.startswith("{")]
    assert told == {"given": {}, "around": False}


def test_image_whose_provider_is_not_configured_does_not_start(installation: Installation, engine_here: PrivateEngine) -> None:
    ended, said = scanned_with(installation, engine_here, labelled(engine_here, engine_here.image_of(PROGRAM), "bedrock, claude-code"))

    assert (ended["status"], said) == ("preflight_failed", [])
    assert ended["statusReason"].startswith("invalid_config: The scan image needs a model provider (bedrock, claude-code)")
