"""An image registry of the tests' own on a free loopback port, and cosign beside it."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

from tests.containers.private_engine import PrivateEngine
from tests.end_to_end.installation import free_port

START_SECONDS = 20.0
MANIFEST = "application/vnd.oci.image.manifest.v1+json"


def missing_parts() -> list[str]:
    return [program for program in ("docker-registry", "cosign") if shutil.which(program) is None]


@dataclass(frozen=True)
class PrivateRegistry:
    host: str
    folder: Path

    def push(self, engine: PrivateEngine, name: str) -> str:
        """Push the scan image under a name; its reference by digest."""
        repository = f"{self.host}/{name}"
        engine.client.images.get(engine.image).tag(repository, "1")
        told = list(engine.client.images.push(repository, tag="1", stream=True, decode=True))
        digest = next(step["aux"]["Digest"] for step in told if "aux" in step)
        engine.client.images.remove(f"{repository}:1")
        return f"{repository}@{digest}"

    def new_key(self, name: str) -> Path:
        """A cosign key pair; the file of its public half."""
        self.cosign("generate-key-pair", f"--output-key-prefix={self.folder / name}")
        return self.folder / f"{name}.pub"

    def sign(self, image: str, key: Path) -> None:
        private = key.with_suffix(".key")
        self.cosign("sign", "--yes", "--tlog-upload=false", "--allow-http-registry", "--key", str(private), image)

    def is_verified_by_cosign(self, image: str, key: Path) -> bool:
        words = ("verify", "--insecure-ignore-tlog=true", "--allow-http-registry", "--key", str(key), image)
        return self._cosign(*words).returncode == 0

    def cosign(self, *words: str) -> None:
        told = self._cosign(*words)
        assert told.returncode == 0, told.stderr[-2000:]

    def _cosign(self, *words: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "COSIGN_PASSWORD": "", "HOME": str(self.folder)}
        return subprocess.run(["cosign", *words], env=environment, capture_output=True, text=True, timeout=60, check=False)

    def signature_manifest(self, image: str) -> dict[str, Any]:
        told: dict[str, Any] = (
            httpx2.get(self._signature_url(image), headers={"Accept": MANIFEST}, trust_env=False).raise_for_status().json()
        )
        return told

    def put_signature_manifest(self, image: str, manifest: dict[str, Any]) -> None:
        kind = {"Content-Type": str(manifest["mediaType"])}
        httpx2.put(self._signature_url(image), content=json.dumps(manifest), headers=kind, trust_env=False).raise_for_status()

    def put_blob(self, image: str, content: bytes) -> str:
        repository = image.partition("@")[0].partition("/")[2]
        place = httpx2.post(f"http://{self.host}/v2/{repository}/blobs/uploads/", trust_env=False).raise_for_status().headers["location"]
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        url = httpx2.URL(place).copy_merge_params({"digest": digest})
        httpx2.put(url, content=content, headers={"Content-Type": "application/octet-stream"}, trust_env=False).raise_for_status()
        return digest

    def _signature_url(self, image: str) -> str:
        name, _, digest = image.partition("@")
        return f"http://{self.host}/v2/{name.partition('/')[2]}/manifests/{digest.replace(':', '-')}.sig"


@contextmanager
def registry_process(folder: Path) -> Iterator[PrivateRegistry]:
    host = f"127.0.0.1:{free_port()}"
    settings = {
        "version": 0.1,
        "log": {"level": "warn"},
        "storage": {"filesystem": {"rootdirectory": str(folder / "registry")}},
        "http": {"addr": host},
    }
    (folder / "registry.json").write_text(json.dumps(settings))
    with (folder / "registry.log").open("wb") as log:
        process = subprocess.Popen(["docker-registry", "serve", str(folder / "registry.json")], stdout=log, stderr=log)
    try:
        _wait_until_answering(process, host)
        yield PrivateRegistry(host, folder)
    finally:
        process.terminate()
        process.wait(20)


def _wait_until_answering(process: subprocess.Popen[bytes], host: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), contextlib.closing(http.client.HTTPConnection(host, timeout=2)) as connection:
            connection.request("GET", "/v2/")
            if connection.getresponse().status == http.client.OK:
                return
        time.sleep(0.05)
    raise RuntimeError("the registry did not start")
