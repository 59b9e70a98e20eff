"""Images of a registry: fetched by digest, and only with a signature by the local key. cosign signs, and is the second opinion."""

from __future__ import annotations

import base64
import json
import stat
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from apviso.protocol.daemon import ScanImage
from apviso.protocol.states import EndReason
from apviso.runner.engines import EngineFailed
from apviso.runner.engines.container_engine import ContainerEngine
from apviso.runner.engines.kept_signatures import KeptSignatures
from apviso.runner.engines.signatures import ANNOTATION, Trust
from tests.containers.private_engine import PrivateEngine, archive
from tests.containers.private_registry import PrivateRegistry, registry_process
from tests.containers.running import INSTALLATION

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def engine_here(engine_here: PrivateEngine) -> PrivateEngine:
    """With a small image in place of the scan image, which is pushed and fetched here many times, and never run."""
    told = json.loads(engine_here.client.api.import_image_from_data(archive("program.py", "pass"), repository="small", tag="test"))
    return replace(engine_here, image=str(told["status"]))


@pytest.fixture(scope="module")
def key(registry: PrivateRegistry) -> Path:
    return registry.new_key("ours")


@pytest.fixture
def image(engine_here: PrivateEngine, registry: PrivateRegistry, request: pytest.FixtureRequest) -> Iterator[str]:
    """In the registry under a name of its own, unsigned, and not in the engine under that name."""
    pushed = registry.push(engine_here, f"scan/{abs(hash(request.node.name))}")
    yield pushed
    for tag in engine_here.client.images.get(engine_here.image).attrs["RepoDigests"]:
        engine_here.client.images.remove(tag)


def engine_with(here: PrivateEngine, image: str, trust: Trust) -> ContainerEngine:
    return ContainerEngine("docker", here.socket_file, image, INSTALLATION, trust)


async def refusal(engine: ContainerEngine, job_image: ScanImage | None = None) -> EngineFailed:
    with pytest.raises(EngineFailed) as refused:
        await engine.prepare(job_image)
    return refused.value


async def test_image_that_cosign_signed_with_our_key_is_fetched(
    engine_here: PrivateEngine, registry: PrivateRegistry, image: str, key: Path
) -> None:
    registry.sign(image, key)

    prepared = await engine_with(engine_here, image, Trust("require", key)).prepare(None)

    assert registry.is_verified_by_cosign(image, key)
    assert (prepared.image, prepared.digest) == (engine_here.image, image.partition("@")[2])


async def test_image_without_signature_is_not_fetched(engine_here: PrivateEngine, registry: PrivateRegistry, image: str, key: Path) -> None:
    refused = await refusal(engine_with(engine_here, image, Trust("require", key)))

    assert not registry.is_verified_by_cosign(image, key)
    assert refused.reason is EndReason.IMAGE_REFUSED
    assert "no signature" in str(refused)
    assert image not in engine_here.client.images.get(engine_here.image).attrs["RepoDigests"]


async def test_image_signed_by_another_key_is_refused(engine_here: PrivateEngine, registry: PrivateRegistry, image: str, key: Path) -> None:
    registry.sign(image, registry.new_key("theirs"))

    refused = await refusal(engine_with(engine_here, image, Trust("require", key)))

    assert not registry.is_verified_by_cosign(image, key)
    assert refused.reason is EndReason.IMAGE_REFUSED


async def test_signature_of_another_image_is_refused(engine_here: PrivateEngine, registry: PrivateRegistry, image: str, key: Path) -> None:
    """A signature that is right but speaks of another digest, moved to this image."""
    registry.sign(image, key)
    manifest = registry.signature_manifest(image)
    other = f"{image.partition('@')[0]}@sha256:{'1' * 64}"
    registry.put_signature_manifest(other, manifest)

    refused = await refusal(engine_with(engine_here, other, Trust("require", key)))

    assert not registry.is_verified_by_cosign(other, key)
    assert refused.reason is EndReason.IMAGE_REFUSED


@pytest.mark.parametrize("signature", ["", "no base64!", base64.b64encode(b"x" * 70).decode()])
async def test_signature_that_is_none_is_refused(
    engine_here: PrivateEngine, registry: PrivateRegistry, image: str, key: Path, signature: str
) -> None:
    registry.sign(image, key)
    manifest = registry.signature_manifest(image)
    manifest["layers"][0]["annotations"][ANNOTATION] = signature
    registry.put_signature_manifest(image, manifest)

    refused = await refusal(engine_with(engine_here, image, Trust("require", key)))

    assert not registry.is_verified_by_cosign(image, key)
    assert refused.reason is EndReason.IMAGE_REFUSED


async def test_payload_that_was_changed_is_refused(engine_here: PrivateEngine, registry: PrivateRegistry, image: str, key: Path) -> None:
    registry.sign(image, key)
    manifest = registry.signature_manifest(image)
    forged = b'{"critical":{"identity":{},"image":{"docker-manifest-digest":"DIGEST"},"type":"cosign container image signature"}}'
    manifest["layers"][0]["digest"] = registry.put_blob(image, forged.replace(b"DIGEST", image.partition("@")[2].encode()))
    manifest["layers"][0]["size"] = len(forged) - 6 + 71
    registry.put_signature_manifest(image, manifest)

    refused = await refusal(engine_with(engine_here, image, Trust("require", key)))

    assert not registry.is_verified_by_cosign(image, key)
    assert refused.reason is EndReason.IMAGE_REFUSED


async def test_image_of_a_registry_without_a_key_to_check_is_refused(engine_here: PrivateEngine, image: str) -> None:
    refused = await refusal(engine_with(engine_here, image, Trust()))

    assert refused.reason is EndReason.IMAGE_REFUSED
    assert "image_key" in str(refused)


async def test_unsigned_image_is_fetched_where_development_allows_it(engine_here: PrivateEngine, image: str) -> None:
    prepared = await engine_with(engine_here, image, Trust("allow-unsigned-dev")).prepare(None)

    assert prepared.image == engine_here.image


async def test_image_of_the_job_is_checked_too(engine_here: PrivateEngine, registry: PrivateRegistry, image: str, key: Path) -> None:
    repository, _, digest = image.partition("@")
    asked = ScanImage(ref=f"{repository}:latest", digest=digest, signature="trust me")
    engine = engine_with(engine_here, engine_here.image, Trust("require", key))

    refused = await refusal(engine, asked)
    registry.sign(image, key)
    prepared = await engine.prepare(asked)

    assert refused.reason is EndReason.IMAGE_REFUSED
    assert prepared.digest == digest


async def test_image_that_the_registry_does_not_have_is_unavailable(engine_here: PrivateEngine, registry: PrivateRegistry) -> None:
    absent = f"{registry.host}/scan/absent@sha256:{'0' * 64}"

    refused = await refusal(engine_with(engine_here, absent, Trust("allow-unsigned-dev")))

    assert refused.reason is EndReason.IMAGE_UNAVAILABLE
    assert "cannot be fetched" in str(refused)


async def test_key_that_is_none_is_told(engine_here: PrivateEngine, image: str, tmp_path: Path) -> None:
    no_key = tmp_path / "key.pub"
    no_key.write_text("no key")

    refused = await refusal(engine_with(engine_here, image, Trust("require", no_key)))

    assert refused.reason is EndReason.IMAGE_REFUSED
    assert "cannot be read" in str(refused)


@pytest.mark.usefixtures("registry")
async def test_signed_image_that_is_here_needs_its_registry_no_more(engine_here: PrivateEngine, tmp_path: Path) -> None:
    kept = KeptSignatures(tmp_path / "kept.json")
    with registry_process(tmp_path) as short_lived:
        image = short_lived.push(engine_here, "scan/outlives")
        key, other = short_lived.new_key("ours"), short_lived.new_key("theirs")
        short_lived.sign(image, key)
        first = await engine_with(engine_here, image, Trust("require", key, kept)).prepare(None)

    again = await engine_with(engine_here, image, Trust("require", key, kept)).prepare(None)
    without_it = await refusal(engine_with(engine_here, image, Trust("require", key)))
    with_another_key = await refusal(engine_with(engine_here, image, Trust("require", other, kept)))
    kept.path.write_text(kept.path.read_text().replace('"signature":"', '"signature":"A'))
    with_a_changed_file = await refusal(engine_with(engine_here, image, Trust("require", key, kept)))

    engine_here.client.images.remove(image)
    assert again == first
    assert stat.S_IMODE(kept.path.stat().st_mode) == 0o600
    assert {failed.reason for failed in (without_it, with_another_key, with_a_changed_file)} == {EndReason.IMAGE_UNAVAILABLE}
