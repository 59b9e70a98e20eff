"""Signatures that were found in a registry, kept on this host, so that an image that is here outlives its registry. Trusts none of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog
from pydantic import BaseModel, ConfigDict, ValidationError

from apviso.runner.engines.images import ImageRef
from apviso.runner.private_files import ExposedFile, read_private, write_private

log = structlog.get_logger("apviso.runner.images")

# A runner uses an image or two at a time; older ones are asked for again.
MOST_KEPT = 50


class Signature(BaseModel):
    """`payload` is what was signed, `signature` the proof (base64), as cosign writes them."""

    model_config = ConfigDict(frozen=True, ser_json_bytes="base64", val_json_bytes="base64")

    payload: bytes
    signature: str


class _Kept(BaseModel):
    model_config = ConfigDict(frozen=True)

    image: str
    signature: Signature


class _File(BaseModel):
    kept: list[_Kept] = []


@dataclass(frozen=True)
class KeptSignatures:
    """A file that holds them, the newest last. Whoever reads one has to verify it: the file proves nothing by itself."""

    path: Path

    def of(self, image: ImageRef) -> Sequence[Signature]:
        return [one.signature for one in self._read().kept if one.image == str(image)]

    def keep(self, image: ImageRef, signature: Signature) -> None:
        """In place of what was kept for the image. A disk that is full costs no scan: the registry is asked again next time."""
        others = [one for one in self._read().kept if one.image != str(image)]
        newest = _File(kept=[*others, _Kept(image=str(image), signature=signature)][-MOST_KEPT:])
        try:
            write_private(self.path, newest.model_dump_json())
        except OSError as error:
            log.warning("signature_not_kept", image=str(image), reason=str(error))

    def _read(self) -> _File:
        try:
            return _File.model_validate_json(read_private(self.path) or "{}")
        except (OSError, UnicodeDecodeError, ValidationError, ExposedFile) as error:
            log.warning("kept_signatures_unusable", reason=str(error)[:300])
            return _File()
