"""A local copy of each attempt's events for the people at the host: redacted, bounded, the oldest thrown away."""

from __future__ import annotations

import contextlib
from pathlib import Path

from apviso.protocol.scan_events import ScanEvent

MAX_FILE_BYTES = 5 * 1024**2
MOST_FILES = 100


class JobLog:
    """One file for an attempt and, when that is full, its predecessor. A disk that is full costs lines here, not scans."""

    def __init__(self, folder: Path, key: str) -> None:
        self._path = folder / f"{key}.ndjson"
        self._size = 0
        _forget_oldest(folder)

    def append(self, event: ScanEvent) -> None:
        line = event.model_dump_json(by_alias=True, exclude_none=True).encode() + b"\n"
        with contextlib.suppress(OSError):
            if self._size + len(line) > MAX_FILE_BYTES:
                self._path.replace(self._path.with_suffix(".ndjson.1"))
                self._size = 0
            with self._path.open("ab") as file:
                file.write(line)
            self._size += len(line)


def _forget_oldest(folder: Path) -> None:
    with contextlib.suppress(OSError):
        paths = sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)
        for path in paths[MOST_FILES - 1 :]:
            path.unlink(missing_ok=True)


def list_logs(folder: Path) -> list[Path]:
    """Log files, the newest first."""
    return sorted(folder.glob("*.ndjson"), key=lambda path: path.stat().st_mtime, reverse=True)


def find_log(folder: Path, job: str | None) -> Path | None:
    """The newest log, of the named job where one is named (its id, or the beginning of it)."""
    return next((path for path in list_logs(folder) if job is None or path.name.startswith(job)), None)
