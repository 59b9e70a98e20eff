"""The JavaScript example as an image without a base image: this machine's Node, the libraries that it names, and the program."""

from __future__ import annotations

import io
import re
import subprocess
import tarfile
from pathlib import Path

import docker

from tests.upkeep.sources import ROOT

EXAMPLE = ROOT / "deploy/scan/examples/javascript"
CONTAINERFILE = EXAMPLE / "Containerfile"
# Debian's Node reads these parts of its own from the disk.
_SHARED_PARTS = tuple(Path("/usr/share/nodejs", name) for name in ("acorn", "acorn-walk", "cjs-module-lexer", "undici"))
_LIBRARY = re.compile(r"(/\S+\.so\S*)")


def build_javascript_image(client: docker.DockerClient, interpreter: Path, tag: str) -> str:
    """The image's id. Its entry point and account are those of the example's Containerfile."""
    node = interpreter.resolve()
    told = subprocess.run(["ldd", str(node)], capture_output=True, text=True, timeout=30, check=True).stdout
    files = {"usr/bin/node": node, "scan.js": EXAMPLE / "scan.js"}
    files |= {name.lstrip("/"): Path(name).resolve() for name in _LIBRARY.findall(told)}
    files |= {str(part).lstrip("/"): part for part in _SHARED_PARTS if part.is_dir()}
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name, path in sorted(files.items()):
            tar.add(path, name)
        for name in ("proc", "sys", "dev", "run", "tmp", "work"):
            folder = tarfile.TarInfo(name)
            folder.type, folder.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(folder)
    changes = [*re.findall(r"^(?:USER|ENTRYPOINT) .*$", CONTAINERFILE.read_text(), re.MULTILINE), "ENV PATH=/usr/bin"]
    told = client.api.import_image_from_data(packed.getvalue(), changes=changes)
    made = client.images.get(re.findall(r"[0-9a-f]{64}", told)[-1])
    made.tag(tag)
    return str(made.id)
