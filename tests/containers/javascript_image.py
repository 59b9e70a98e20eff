"""The JavaScript example as an image without a base image: this machine's Node and the program."""

from __future__ import annotations

import re
from pathlib import Path

import docker

from tests.containers.small_images import import_image, with_libraries
from tests.upkeep.sources import ROOT

EXAMPLE = ROOT / "deploy/scan/examples/javascript"
CONTAINERFILE = EXAMPLE / "Containerfile"
# Debian's Node reads these parts of its own from the disk.
_SHARED_PARTS = tuple(Path("/usr/share/nodejs", name) for name in ("acorn", "acorn-walk", "cjs-module-lexer", "undici"))


def build_javascript_image(client: docker.DockerClient, interpreter: Path, tag: str) -> str:
    """The image's id. Its entry point and account are those of the example's Containerfile."""
    files = with_libraries("usr/bin/node", interpreter.resolve()) | {"scan.js": EXAMPLE / "scan.js"}
    files |= {str(part).lstrip("/"): part for part in _SHARED_PARTS if part.is_dir()}
    changes = [*re.findall(r"^(?:USER|ENTRYPOINT) .*$", CONTAINERFILE.read_text(), re.MULTILINE), "ENV PATH=/usr/bin"]
    made = client.images.get(import_image(client, files, changes))
    made.tag(tag)
    return str(made.id)
