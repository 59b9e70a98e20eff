"""A Docker Engine of the tests' own: no network of its own, a socket in a temporary folder, ended by process id."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import docker
import psutil

START_SECONDS = 60.0
ROOT = Path(__file__).parents[2]
BUILD = ROOT / "deploy" / "scan" / "build.py"


@dataclass(frozen=True)
class PrivateEngine:
    """`image` is the id of the scan image, built from this interpreter."""

    socket_file: Path
    client: docker.DockerClient
    image: str
    pid: int

    def image_of(self, program: str) -> str:
        """The scan image with another program in it: Python source that is run in place of the scan."""
        made = self.client.api.create_container(self.image)
        try:
            self.client.api.put_archive(made["Id"], "/", archive("program.py", program))
            interpreter = self.client.api.inspect_image(self.image)["Config"]["Entrypoint"][0]
            told = self.client.api.commit(made["Id"], changes=[f'ENTRYPOINT ["{interpreter}", "-I", "-u", "/program.py"]'])
        finally:
            self.client.api.remove_container(made["Id"])
        return f"sha256:{told['Id'].removeprefix('sha256:')}"

    def containers(self) -> list[str]:
        """Names of all containers, running or not."""
        return [container.name for container in self.client.containers.list(all=True)]


def archive(name: str, text: str) -> bytes:
    """A tar file with one file in it, which ends with its end mark.

    `tarfile` fills up to 10 KiB after that. Podman's reader ends at the mark, and what is still being written to it then breaks its pipe.
    """
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        entry = tarfile.TarInfo(name)
        entry.size, entry.mode = len(text.encode()), 0o644
        tar.addfile(entry, io.BytesIO(text.encode()))
        end_mark = tar.offset + 2 * tarfile.BLOCKSIZE
    return packed.getvalue()[:end_mark]


def missing_parts() -> list[str]:
    """What this machine lacks for an engine of one's own."""
    lacking = [] if os.getuid() == 0 else ["the rights of root"]
    return [*lacking, *(program for program in ("dockerd", "containerd", "runc") if shutil.which(program) is None)]


@dataclass
class EngineProcess:
    """An engine in a folder of its own, which can be stopped and started again."""

    folder: Path
    popen: subprocess.Popen[bytes]

    @property
    def socket_file(self) -> Path:
        return self.folder / "docker.sock"

    def stop(self) -> None:
        """As its service is stopped; its containers end with it."""
        _end(self.popen)
        _end_orphans(self.folder)

    def start(self) -> None:
        self.popen = _started(self.folder)
        wait_until_answering(self.popen, self.socket_file, self.folder / "dockerd.log")


@contextmanager
def engine_that_restarts() -> Iterator[EngineProcess]:
    """A running engine; all that it started has ended afterwards."""
    # Its own sockets lie deep below; a socket address holds about a hundred characters.
    with TemporaryDirectory(prefix="engine-", ignore_cleanup_errors=True) as name:
        engine = EngineProcess(Path(name), _started(Path(name)))
        try:
            wait_until_answering(engine.popen, engine.socket_file, engine.folder / "dockerd.log")
            yield engine
        finally:
            _end(engine.popen)
            _end_orphans(engine.folder)
            unmount_below(engine.folder)


@contextmanager
def engine_process() -> Iterator[tuple[Path, int]]:
    """The engine's socket and process; all that it started has ended afterwards."""
    with engine_that_restarts() as engine:
        yield engine.socket_file, engine.popen.pid


def _started(folder: Path) -> subprocess.Popen[bytes]:
    (folder / "daemon.json").write_text("{}")
    command = [
        "dockerd", "--storage-driver=overlay2", "--bridge=none", "--iptables=false", "--ip6tables=false", "--ip-forward=false",
        f"--data-root={folder / 'data'}", f"--exec-root={folder / 'exec'}", f"--pidfile={folder / 'dockerd.pid'}",
        f"--config-file={folder / 'daemon.json'}", f"--host=unix://{folder / 'docker.sock'}",
    ]  # fmt: skip
    with (folder / "dockerd.log").open("wb") as output:
        return subprocess.Popen(command, stdout=output, stderr=output, stdin=subprocess.DEVNULL, start_new_session=True)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(10)


def _end_orphans(folder: Path) -> None:
    """An engine that was killed leaves its containerd and the keepers of its containers behind."""
    orphans = [process for process in psutil.process_iter(["cmdline"]) if str(folder) in " ".join(process.info["cmdline"] or ())]
    for process in orphans:
        process.kill()
    psutil.wait_procs(orphans, 10)


def wait_until_answering(process: subprocess.Popen[bytes], socket_file: Path, log: Path) -> None:
    """Until the engine behind the socket answers; raises RuntimeError with its last words where it does not."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with (
            contextlib.suppress(docker.errors.DockerException),
            contextlib.closing(docker.DockerClient(f"unix://{socket_file}", timeout=5)) as client,
        ):
            if client.ping():
                return
        time.sleep(0.1)
    raise RuntimeError(f"the engine did not start: {log.read_text(errors='replace')[-2000:]}")


def unmount_below(folder: Path) -> None:
    mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    for place in sorted((mount for mount in mounts if mount.startswith(f"{folder}/")), reverse=True):
        subprocess.run(["umount", "--lazy", place], check=False, timeout=10)


def build_scan_image(socket_file: Path, scanners_dir: Path) -> str:
    """Its id, as the build tells it. `make image-python` prepares a newer Python for it, which is taken where it is there."""
    command = [sys.executable, str(BUILD), "--tag", "apviso-scan:test", "--scanners-dir", str(scanners_dir)]
    if (ROOT / ".venv-image/.ready").exists():
        command = [str(ROOT / ".venv-image/bin/python"), str(BUILD), "--tag", "apviso-scan:test"]
    environment = {**os.environ, "DOCKER_HOST": f"unix://{socket_file}", "PYTHONPATH": str(ROOT / "src")}
    told = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    if told.returncode != 0:
        raise RuntimeError(f"the scan image was not built: {told.stderr[-2000:]}")
    return told.stdout.strip()
