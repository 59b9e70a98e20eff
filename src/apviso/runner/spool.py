"""Events of one attempt on disk until they are acknowledged: numbered without gaps, whole after kill -9, bounded in size."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from apviso.protocol.scan_events import Gap, Happening, Log, LogEvent, Missing, MissingCause, Progress, ScanEvent, Stats, scan_event
from apviso.runner.private_files import sync_folder

MAX_SPOOL_BYTES = 256 * 1024**2
# Log lines stop here, so that findings and phases still find room.
RESERVED_BYTES = 16 * 1024**2
SEGMENT_BYTES = 4 * 1024**2


class SpoolFull(Exception):
    """An event that may not be dropped has no room, or the disk has none."""


@dataclass
class _Segment:
    """One file of events; it is named after its first number."""

    path: Path
    first: int
    count: int
    size: int

    @property
    def last(self) -> int:
        return self.first + self.count - 1


class Spool:
    """Append at one end, read and drop at the other. All from the event loop; only `sync` waits for the disk."""

    def __init__(self, folder: Path, max_bytes: int = MAX_SPOOL_BYTES, reserved_bytes: int = RESERVED_BYTES) -> None:
        self.folder = folder
        self._max_bytes = max_bytes
        self._reserved_bytes = reserved_bytes
        self._dropped = 0
        self._segments = _read_segments(folder)
        self._file = os.open(self._segments[-1].path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        # What an earlier process appended may have reached the kernel only.
        os.fsync(self._file)
        self._synced = self.last_seq
        self.appended = asyncio.Event()

    @property
    def last_seq(self) -> int:
        return self._segments[-1].last

    @property
    def first_kept(self) -> int:
        """The lowest number that can still be read."""
        return self._segments[0].first

    @property
    def size(self) -> int:
        return sum(segment.size for segment in self._segments)

    def append(self, happening: Happening, at: datetime) -> ScanEvent | None:
        """Number and write an event; None where it was dropped for lack of room (log, progress and stats only)."""
        if isinstance(happening, Log | Progress | Stats) and self.size >= self._max_bytes - self._reserved_bytes:
            self._dropped += isinstance(happening, Log)
            return None
        self.note_dropped(at)
        return self._write(happening, at)

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def note_dropped(self, at: datetime) -> None:
        """Write the gap marker for the lines that were dropped; at the very end, too."""
        if self._dropped:
            missing = Missing(count=self._dropped, cause=MissingCause.SPOOL_FULL)
            self._write(Gap(message=f"{self._dropped} log lines are missing here: the runner's spool was full", missing=missing), at)
            self._dropped = 0

    def _write(self, happening: Happening, at: datetime) -> ScanEvent:
        event = scan_event.validate_python({**happening.model_dump(), "seq": self.last_seq + 1, "at": at})
        line = event.model_dump_json(by_alias=True, exclude_none=True).encode() + b"\n"
        if self.size + len(line) > self._max_bytes:
            raise SpoolFull(f"the spool of {self._max_bytes} bytes is full")
        segment = self._segments[-1]
        try:
            if segment.size >= SEGMENT_BYTES:
                segment = self._next_segment()
            _write_whole(self._file, line, segment.size)
        except OSError as error:
            raise SpoolFull(f"the spool cannot be written: {error.strerror}") from error
        segment.count += 1
        segment.size += len(line)
        self.appended.set()
        return event

    def _next_segment(self) -> _Segment:
        # The old file is made durable first: `sync` looks at the newest only.
        os.fsync(self._file)
        os.close(self._file)
        segment = _Segment(_name(self.folder, self.last_seq + 1), self.last_seq + 1, 0, 0)
        self._file = os.open(segment.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        sync_folder(self.folder)
        self._segments.append(segment)
        return segment

    async def sync(self) -> int:
        """Make all that was appended survive a power cut; answers the last number that does.

        Nothing may be sent before: a number that was acknowledged must never come back with another content.
        """
        if self._file >= 0 and self._synced < self.last_seq:
            last, duplicate = self.last_seq, os.dup(self._file)
            try:
                await asyncio.to_thread(os.fsync, duplicate)
            finally:
                os.close(duplicate)
            self._synced = max(self._synced, last)
        return self._synced

    def read(self, after: int, most_events: int, most_bytes: int) -> list[ScanEvent]:
        """Synced events numbered from `after` + 1 on; at least one where there is one."""
        found: list[ScanEvent] = []
        size = 0
        for segment in [one for one in self._segments if one.last > after and one.count]:
            with segment.path.open("rb") as file:
                for seq, line in zip(range(segment.first, segment.last + 1), file, strict=False):
                    if seq <= after:
                        continue
                    size += len(line)
                    if seq > self._synced or len(found) >= most_events or (found and size > most_bytes):
                        return found
                    found.append(_read_event(line, seq, segment.path))
        return found

    def drop_through(self, seq: int) -> None:
        """Forget acknowledged events, file by file; the newest file stays because its name holds the count."""
        while len(self._segments) > 1 and self._segments[0].last <= seq:
            self._segments.pop(0).path.unlink(missing_ok=True)

    def replace(self, event: ScanEvent, message: str) -> None:
        """Put a log line in the place of an event that the control plane will not have, keeping its number."""
        segment = next(one for one in self._segments if one.first <= event.seq <= one.last)
        missing = Missing(count=1, cause=MissingCause.REFUSED)
        substitute = LogEvent(seq=event.seq, at=event.at, level="warning", message=message, missing=missing)
        lines = segment.path.read_bytes().splitlines(keepends=True)
        lines[event.seq - segment.first] = substitute.model_dump_json(by_alias=True, exclude_none=True).encode() + b"\n"
        draft = segment.path.with_suffix(".draft")
        draft.write_bytes(b"".join(lines))
        draft.replace(segment.path)
        segment.size = sum(map(len, lines))
        if segment is self._segments[-1]:
            os.close(self._file)
            self._file = os.open(segment.path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)


def _write_whole(file: int, line: bytes, size: int) -> None:
    """Append the line or leave the file as it was: a torn line in the middle would cost all that follow."""
    written = 0
    try:
        while written < len(line):
            written += os.write(file, line[written:])
    except OSError:
        os.ftruncate(file, size)
        raise


def _name(folder: Path, first: int) -> Path:
    return folder / f"{first:012d}.ndjson"


def _read_segments(folder: Path) -> list[_Segment]:
    """The files in order, with a torn last line cut off; an empty first one where there is none."""
    paths = sorted(folder.glob("*.ndjson"))
    if not paths:
        first = _name(folder, 1)
        first.touch(mode=0o600)
        sync_folder(folder)
        return [_Segment(first, 1, 0, 0)]
    _cut_torn_end(paths[-1])
    return [_Segment(path, int(path.stem), _count_lines(path), path.stat().st_size) for path in paths]


def _cut_torn_end(path: Path) -> None:
    kept = 0
    with path.open("rb") as file:
        for line in file:
            if not line.endswith(b"\n") or not _is_event(line):
                break
            kept += len(line)
    if kept != path.stat().st_size:
        os.truncate(path, kept)


def _count_lines(path: Path) -> int:
    with path.open("rb") as file:
        return sum(1 for _ in file)


def _read_event(line: bytes, seq: int, path: Path) -> ScanEvent:
    """The event; where the disk has damaged it, a word about that under its number, so that all others can still be told."""
    try:
        return scan_event.validate_json(line)
    except ValidationError:
        at = datetime.fromtimestamp(path.stat().st_mtime, UTC)
        missing = Missing(count=1, cause=MissingCause.DAMAGED_ON_DISK)
        message = "An event is missing here: it was damaged on the runner's disk."
        return LogEvent(seq=seq, at=at, level="error", message=message, missing=missing)


def _is_event(line: bytes) -> bool:
    try:
        scan_event.validate_json(line)
    except ValidationError:
        return False
    return True
