"""What a scan's container may do, in one place: everything that is not listed here is denied. Pure: asks no engine."""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import JsonValue

from apviso.runner.engines import ScanLabels
from apviso.scanning.order import IMAGE_GUARD_DIR, IMAGE_PROXY_PORT, IMAGE_WORK_DIR, ScanOrder

LABEL = "io.apviso."
# Whose containers these are: one workspace on one host. Nothing without this label is ever touched.
INSTALLATION = LABEL + "installation"
USER = 65532
MEMORY_BYTES = 2 * 1024**3
MOST_CPUS = 2
PROCESSES = 512
OPEN_FILES = 4096
WORK_BYTES = 1024**3
TEMPORARY_BYTES = 256 * 1024**2

# The number of processes is counted over all scans of a host here, so this is only the outer bound; without it Podman would ask for
# the engine's own, which not every engine may give.
_ULIMITS = {"nofile": OPEN_FILES, "nproc": 8 * PROCESSES, "core": 0}

HARDENING = (
    "no network but its own loopback", "read-only root", "no capabilities", "no new privileges", "an account of its own",
    "limits for memory, processors, processes and files", "image by digest",
)  # fmt: skip


def container_name(labels: ScanLabels) -> str:
    return f"apviso-{labels.job_id}-{labels.attempt}"


def create_body(image: str, labels: ScanLabels, installation: str, guard_dir: Path) -> dict[str, JsonValue]:
    """The body of the Engine API's `POST /containers/create`."""
    proxy = f"http://127.0.0.1:{IMAGE_PROXY_PORT}"
    return {
        "Image": image,
        "User": f"{USER}:{USER}",
        "WorkingDir": IMAGE_WORK_DIR,
        # For images of others, whose scanners look for a proxy where everybody does.
        "Env": [f"HOME={IMAGE_WORK_DIR}", f"TMPDIR={IMAGE_WORK_DIR}", f"HTTP_PROXY={proxy}", f"HTTPS_PROXY={proxy}", "NO_PROXY="],
        "Labels": {
            INSTALLATION: installation,
            LABEL + "runner": labels.runner_id,
            LABEL + "job": labels.job_id,
            LABEL + "attempt": str(labels.attempt),
        },
        "OpenStdin": True,
        # The runner's end of standard input is the scan's lifeline: when the runner dies, it closes.
        "StdinOnce": True,
        "AttachStdin": True,
        "AttachStdout": True,
        "AttachStderr": True,
        "Tty": False,
        "NetworkDisabled": True,
        "HostConfig": _host_config(guard_dir),
    }


def _host_config(guard_dir: Path) -> dict[str, JsonValue]:
    return {
        "NetworkMode": "none",
        "ReadonlyRootfs": True,
        "CapDrop": ["ALL"],
        "SecurityOpt": ["no-new-privileges"],
        "Privileged": False,
        "IpcMode": "private",
        "CgroupnsMode": "private",
        "Memory": MEMORY_BYTES,
        "MemorySwap": MEMORY_BYTES,
        "NanoCpus": min(MOST_CPUS, os.cpu_count() or 1) * 10**9,
        "PidsLimit": PROCESSES,
        "Ulimits": [{"Name": name, "Soft": most, "Hard": most} for name, most in _ULIMITS.items()],
        # Podman knows no owner for these; in the container there is but one account.
        "Tmpfs": {
            IMAGE_WORK_DIR: f"rw,noexec,nosuid,nodev,size={WORK_BYTES},mode=1777",
            "/tmp": f"rw,noexec,nosuid,nodev,size={TEMPORARY_BYTES},mode=1777",  # noqa: S108 - inside the container
        },
        "Mounts": [{"Type": "bind", "Source": str(guard_dir), "Target": IMAGE_GUARD_DIR, "ReadOnly": True}],
        # Its output goes to the runner alone; the engine keeps no copy.
        "LogConfig": {"Type": "none"},
        "RestartPolicy": {"Name": "no"},
        "AutoRemove": False,
    }


def order_inside(order: ScanOrder, socket: str, scanners_dir: str) -> ScanOrder:
    """The order as the scan sees it: its own places, and the guard behind a socket file."""
    return order.model_copy(
        update={
            "proxy_url": f"http://127.0.0.1:{IMAGE_PROXY_PORT}",
            "proxy_socket": f"{IMAGE_GUARD_DIR}/{socket}",
            "work_dir": IMAGE_WORK_DIR,
            "scanners_dir": scanners_dir,
        }
    )
