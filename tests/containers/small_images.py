"""Images without a base image: one program of this machine, the libraries that it names, and the folders that an engine mounts over."""

from __future__ import annotations

import io
import re
import shutil
import subprocess
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import docker

_LIBRARY = re.compile(r"(/\S+\.so\S*)")


def with_libraries(place: str, program: Path) -> dict[str, Path]:
    """Places in the image, and what lies there."""
    told = subprocess.run(["ldd", str(program)], capture_output=True, text=True, timeout=30, check=True).stdout
    return {place: program} | {name.lstrip("/"): Path(name).resolve() for name in _LIBRARY.findall(told)}


def import_image(client: docker.DockerClient, files: Mapping[str, Path], changes: Sequence[str]) -> str:
    """The image's id."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name, path in sorted(files.items()):
            tar.add(path, name)
        for name in ("proc", "sys", "dev", "run", "tmp", "work"):
            folder = tarfile.TarInfo(name)
            folder.type, folder.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(folder)
    told = client.api.import_image_from_data(packed.getvalue(), changes=list(changes))
    return f"sha256:{re.findall(r'[0-9a-f]{64}', told)[-1]}"


def idle_image(client: docker.DockerClient, name: str) -> str:
    """One that ends well and does nothing; its program has this name, so that no two of them share a layer."""
    found = shutil.which("true")
    assert found is not None
    return import_image(client, with_libraries(name, Path(found).resolve()), [f'ENTRYPOINT ["/{name}"]'])
