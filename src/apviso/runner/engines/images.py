"""Names images by digest, and only so. Pure: asks no engine and no registry."""

from __future__ import annotations

import re
from dataclasses import dataclass

from apviso.protocol.states import EndReason
from apviso.runner.engines import EngineFailed

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_MOST_CHARACTERS = 255
# A registry's host, if it is named, and names that begin and end with a letter or digit: no `..`, which would be another address.
_PART = r"[a-z0-9]+(?:(?:\.|_{1,2}|-+)[a-z0-9]+)*"
_REPOSITORY = re.compile(rf"(?:[a-z0-9][a-z0-9.-]*(?::[0-9]{{1,5}})?/)?{_PART}(?:/{_PART})*")


@dataclass(frozen=True)
class ImageRef:
    """`repository` is empty for an image that is in the engine already and is named by its own id."""

    repository: str
    digest: str

    @property
    def is_local(self) -> bool:
        return not self.repository

    def __str__(self) -> str:
        return self.digest if self.is_local else f"{self.repository}@{self.digest}"


def parse_image(text: str) -> ImageRef:
    """`repository@sha256:...`, or `sha256:...` for a local image. A tag beside the digest is dropped, a tag alone is refused."""
    name, _, digest = text.strip().rpartition("@")
    if not _DIGEST.fullmatch(digest):
        message = f"The scan image {text!r} is not named by its digest (repository@sha256:...); a tag can be moved to another image."
        raise EngineFailed(message, EndReason.IMAGE_REFUSED)
    repository = re.sub(r":[^/:]*$", "", name) if "/" in name else name
    if name and not (len(repository) <= _MOST_CHARACTERS and _REPOSITORY.fullmatch(repository)):
        raise EngineFailed(f"{name!r} is not the name of an image.", EndReason.IMAGE_REFUSED)
    return ImageRef(repository, digest)


def registry_of(repository: str) -> tuple[str, str]:
    """The registry's host (and port) and the name within it. Raises EngineFailed for a name that leaves its registry to the engine."""
    host, slash, rest = repository.partition("/")
    if slash and ("." in host or ":" in host or host == "localhost"):
        return host, rest
    message = f"The scan image {repository!r} does not name its registry; write it in full, such as registry.example/{repository}."
    raise EngineFailed(message, EndReason.IMAGE_REFUSED)
