"""A Podman service of the tests' own: the same API as Docker's, on a socket in a temporary folder."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.containers.private_engine import unmount_below, wait_until_answering

# What a machine without the right to raise limits needs, and one whose control groups are of the first version.
SETTINGS = """
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]
log_driver = "k8s-file"
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
"""


def missing_parts() -> list[str]:
    lacking = [] if os.getuid() == 0 else ["the rights of root"]
    return [*lacking, *(program for program in ("podman", "conmon", "runc") if shutil.which(program) is None)]


@contextmanager
def podman_service() -> Iterator[tuple[Path, int]]:
    """The socket and the process; everything of it has ended afterwards."""
    with TemporaryDirectory(prefix="podman-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        (folder / "containers.conf").write_text(SETTINGS)
        socket_file = folder / "podman.sock"
        places = [f"--root={folder / 'root'}", f"--runroot={folder / 'run'}", f"--tmpdir={folder / 'tmp'}"]
        environment = {**os.environ, "CONTAINERS_CONF": str(folder / "containers.conf")}
        with (folder / "podman.log").open("wb") as log:
            command = ["podman", *places, "system", "service", "--time=0", f"unix://{socket_file}"]
            process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True, cwd=folder)
        try:
            wait_until_answering(process, socket_file, folder / "podman.log")
            yield socket_file, process.pid
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(20)
            unmount_below(folder)
