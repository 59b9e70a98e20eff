"""Where a runner keeps its things: one folder, every name in it on this page, and one daemon at a time."""

from __future__ import annotations

import fcntl
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from apviso.runner.private_files import write_private


class WorkspaceTaken(Exception):
    """Another daemon works in this folder."""


@dataclass(frozen=True)
class Workspace:
    root: Path

    @property
    def config_file(self) -> Path:
        return self.root / "runner.toml"

    @property
    def scope_file(self) -> Path:
        return self.root / "scope.toml"

    @property
    def target_auth_file(self) -> Path:
        return self.root / "target-auth.toml"

    @property
    def identity_file(self) -> Path:
        return self.root / "identity.json"

    @property
    def exchange_file(self) -> Path:
        return self.root / "enrollment.json"

    @property
    def status_file(self) -> Path:
        return self.root / "status.json"

    @property
    def lock_file(self) -> Path:
        return self.root / "runner.lock"

    @property
    def log_file(self) -> Path:
        return self.root / "logs" / "runner.log"

    @property
    def job_logs(self) -> Path:
        return self.root / "logs" / "jobs"

    @property
    def installation_file(self) -> Path:
        return self.root / "installation"

    @property
    def signatures_file(self) -> Path:
        """Signatures of scan images that were found in a registry."""
        return self.root / "image-signatures.json"

    @property
    def spool(self) -> Path:
        return self.root / "spool"

    @property
    def jobs(self) -> Path:
        """Working folders of running scans, one for each attempt; nothing in them outlives the attempt."""
        return self.root / "jobs"

    def installation(self) -> str:
        """A name that this workspace shares with no other, made when it is first asked for."""
        try:
            return self.installation_file.read_text(encoding="ascii").strip()
        except FileNotFoundError:
            write_private(self.installation_file, f"{uuid.uuid4()}\n")
            return self.installation_file.read_text(encoding="ascii").strip()

    def prepare(self) -> None:
        """Make the folders, closed to other accounts."""
        self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        for folder in (self.job_logs, self.spool, self.jobs):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)


@contextmanager
def sole_use(workspace: Workspace) -> Iterator[None]:
    """Hold the workspace for this process; the kernel gives it back when the process dies, however it dies."""
    descriptor = os.open(workspace.lock_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.read(descriptor, 32).decode(errors="replace").strip() or "unknown"
            raise WorkspaceTaken(f"another runner (process {holder}) uses {workspace.root}") from error
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)


def is_held(workspace: Workspace) -> bool:
    """Whether a daemon works in the workspace now."""
    try:
        descriptor = os.open(workspace.lock_file, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
