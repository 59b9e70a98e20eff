"""Whether the workspace has room for another scan. Asked before a claim, before a scan and for each heartbeat."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import psutil
import structlog
from pydantic import JsonValue

from apviso.runner.config import Config
from apviso.runner.workspace import Workspace

log = structlog.get_logger("apviso.runner.room")


def disk_space(folder: Path) -> tuple[int, int]:
    """Free and total bytes; none at all where the folder is gone, which keeps scans away until somebody has looked."""
    try:
        usage = shutil.disk_usage(folder)
    except OSError as error:
        log.warning("workspace_unusable", reason=str(error))
        return 0, 0
    return usage.free, usage.total


def strain() -> dict[str, JsonValue]:
    """How busy this host is: memory, and processes that run or wait beside the number of processors."""
    memory = psutil.virtual_memory()
    return {
        "memoryAvailableBytes": memory.available,
        "memoryTotalBytes": memory.total,
        "loadAverage": round(psutil.getloadavg()[0], 2),
        "cpuCount": os.cpu_count() or 1,
    }


def has_room(workspace: Workspace, config: Config) -> bool:
    free, _ = disk_space(workspace.root)
    return free >= config.min_free_disk_bytes
