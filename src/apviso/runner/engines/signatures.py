"""Decides whether an image carries a signature by the local key: cosign's format, checked offline. Trusts the key and nothing else."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from apviso.protocol.states import EndReason
from apviso.runner.engines import EngineFailed
from apviso.runner.engines.images import ImageRef
from apviso.runner.engines.kept_signatures import KeptSignatures, Signature
from apviso.runner.engines.registry import Registry

Policy = Literal["require", "allow-unsigned-dev"]
# As cosign names it in its own specification.
ANNOTATION = "dev.cosignproject.cosign/signature"
PAYLOAD_TYPE = "cosign container image signature"
# An image has a handful of signers; more is somebody trying.
MAX_SIGNATURES = 20


class _Image(BaseModel):
    digest: str = Field(alias="docker-manifest-digest")


class _Critical(BaseModel):
    type: str
    image: _Image


class _Payload(BaseModel):
    critical: _Critical


class _Layer(BaseModel):
    digest: str
    annotations: Mapping[str, str] = {}


class _Manifest(BaseModel):
    model_config = ConfigDict(extra="ignore")

    layers: list[_Layer] = []


def load_key(path: Path) -> ec.EllipticCurvePublicKey:
    """The public key of a cosign key pair (PEM, ECDSA). Raises EngineFailed."""
    try:
        key = serialization.load_pem_public_key(path.read_bytes())
    except (OSError, ValueError) as error:
        raise EngineFailed(f"The key for scan images, {path}, cannot be read: {error}", EndReason.IMAGE_REFUSED) from error
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise EngineFailed(f"The key for scan images, {path}, is no ECDSA key, as cosign makes them.", EndReason.IMAGE_REFUSED)
    return key


@dataclass(frozen=True)
class Trust:
    """What images of registries must show. Images that are named by their own id were put into the engine by its operator.

    With `kept`, a signature that was found once is checked again on this host, and the registry is not asked for it."""

    policy: Policy = "require"
    key_file: Path | None = None
    kept: KeptSignatures | None = None

    async def check(self, image: ImageRef, registry: Registry) -> None:
        """Raises EngineFailed where the policy is not met, or where that cannot be found out."""
        if image.is_local or self.policy == "allow-unsigned-dev":
            return
        if self.key_file is None:
            message = f"The scan image {image} comes from a registry, and no key to check it is set; name one as image_key in runner.toml."
            raise EngineFailed(message, EndReason.IMAGE_REFUSED)
        key = load_key(self.key_file)
        if self.kept is not None and any(is_signed(one.payload, one.signature, image.digest, key) for one in self.kept.of(image)):
            return
        found = await _find_signature(image, registry, key)
        if found is None:
            message = f"The scan image {image} carries no signature by the key in {self.key_file}."
            raise EngineFailed(message, EndReason.IMAGE_REFUSED)
        if self.kept is not None:
            self.kept.keep(image, found)


async def _find_signature(image: ImageRef, registry: Registry, key: ec.EllipticCurvePublicKey) -> Signature | None:
    told = await registry.find_manifest(image.digest.replace(":", "-") + ".sig")
    if told is None:
        return None
    try:
        manifest = _Manifest.model_validate_json(told)
    except ValidationError:
        return None
    for layer in manifest.layers[:MAX_SIGNATURES]:
        signature = layer.annotations.get(ANNOTATION)
        payload = await registry.find_blob(layer.digest) if signature else None
        if signature and payload is not None and is_signed(payload, signature, image.digest, key):
            return Signature(payload=payload, signature=signature)
    return None


def is_signed(payload: bytes, signature: str, digest: str, key: ec.EllipticCurvePublicKey) -> bool:
    """Whether `signature` (base64) is the key's over `payload`, and the payload speaks of this very digest."""
    try:
        key.verify(base64.b64decode(signature, validate=True), payload, ec.ECDSA(hashes.SHA256()))
        said = _Payload.model_validate_json(payload).critical
    except (ValueError, InvalidSignature):
        return False
    return (said.type, said.image.digest) == (PAYLOAD_TYPE, digest)
