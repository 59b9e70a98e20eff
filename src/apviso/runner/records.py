"""What the disk knows of an attempt, so that a later process can settle it: who ran it, which processes, how it ended."""

from __future__ import annotations

import contextlib
import shutil
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TypeVar

import psutil
from pydantic import BaseModel, ConfigDict, ValidationError

from apviso.protocol.daemon import Finish, Job
from apviso.protocol.wire import JobId
from apviso.runner.private_files import write_private
from apviso.runner.workspace import Workspace

Stored = TypeVar("Stored", bound=BaseModel)


class ProcessMark(BaseModel):
    """One process for ever: a number alone is given to others in time, together with its start it is not."""

    model_config = ConfigDict(frozen=True)

    pid: int
    started: float
    role: str

    @classmethod
    def of(cls, pid: int, role: str) -> ProcessMark | None:
        """None where the process has ended already."""
        try:
            return cls(pid=pid, started=psutil.Process(pid).create_time(), role=role)
        except psutil.Error:
            return None


class AttemptRecord(BaseModel):
    model_config = ConfigDict(frozen=True)

    job_id: JobId
    attempt: int
    scan_id: str
    target: str
    claimed_at: datetime
    processes: tuple[ProcessMark, ...] = ()


@dataclass(frozen=True)
class AttemptFiles:
    """The folders of one attempt: `spool` holds record and events, `work` what the scan itself writes."""

    spool: Path
    work: Path

    @classmethod
    def of(cls, workspace: Workspace, key: str) -> AttemptFiles:
        return cls(workspace.spool / key, workspace.jobs / key)

    def create(self, job: Job, claimed_at: datetime) -> None:
        """Record the attempt before anything is done for it."""
        self.spool.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.work.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._write(
            AttemptRecord(
                job_id=job.job.id, attempt=job.job.attempt, scan_id=job.scan.id, target=job.target.scan_url, claimed_at=claimed_at
            )
        )

    def note_process(self, mark: ProcessMark | None) -> None:
        record = self.find_record()
        if record is not None and mark is not None:
            self._write(record.model_copy(update={"processes": (*record.processes, mark)}))

    def note_finish(self, finish: Finish) -> None:
        """Remember how the attempt ended before it is told, so that the very same can be told by a later process."""
        write_private(self._finish_file, finish.model_dump_json(by_alias=True))

    def find_record(self) -> AttemptRecord | None:
        return _parsed(self._record_file, AttemptRecord)

    def find_finish(self) -> Finish | None:
        return _parsed(self._finish_file, Finish)

    def remove(self) -> None:
        # The record goes first: a folder without one is known to be rubbish, so a crash here does no harm.
        with contextlib.suppress(OSError):
            self._record_file.unlink(missing_ok=True)
        shutil.rmtree(self.spool, ignore_errors=True)
        shutil.rmtree(self.work, ignore_errors=True)

    def _write(self, record: AttemptRecord) -> None:
        write_private(self._record_file, record.model_dump_json())

    @property
    def _record_file(self) -> Path:
        return self.spool / "record.json"

    @property
    def _finish_file(self) -> Path:
        return self.spool / "finish.json"


def _parsed(path: Path, model: type[Stored]) -> Stored | None:
    try:
        return model.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None
