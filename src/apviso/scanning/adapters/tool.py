"""What a scanner's adapter is given and what it gives back. Knows no scanner."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from apviso.protocol.findings import ReportedFinding
from apviso.protocol.scan_events import OutputLine
from apviso.scanning import scanner_process
from apviso.scanning.api_document import ApiDocument
from apviso.scanning.order import ScanOrder
from apviso.scanning.plans import Plan

Say = Callable[[OutputLine], None]
# Most scanners write their report when they are interrupted.
INTERRUPT = scanner_process.Stopping(answer=b"", grace_seconds=10.0)


class ToolFailed(Exception):
    """The scanner did not look. The message goes on behind the scanner's name: `it left no report`."""

    def __init__(self, message: str, *, stopped: bool = False) -> None:
        super().__init__(message)
        self.stopped = stopped


@dataclass(frozen=True)
class Assignment:
    """`seconds` is the time until the scanner must have reported; `addresses` with a query are known from the scanners before.

    `say` takes phases and progress (percent of this scanner's own work); findings go into the result."""

    order: ScanOrder
    plan: Plan
    start_url: str
    api: ApiDocument | None
    addresses: tuple[str, ...]
    seconds: float
    say: Say

    @property
    def origin(self) -> str:
        parts = urlsplit(self.order.target.scan_url)
        return f"{parts.scheme}://{parts.netloc}"

    @property
    def scanners_dir(self) -> Path:
        return Path(self.order.scanners_dir)

    @property
    def work_dir(self) -> Path:
        return Path(self.order.work_dir)

    async def run(
        self,
        command: list[str],
        stopping: scanner_process.Stopping,
        hear: Callable[[str], None],
        seconds: float | None = None,
    ) -> scanner_process.Ended:
        """Run a program of the scanner. Raises ToolFailed where it cannot start."""
        try:
            return await scanner_process.run(command, self.work_dir, self.seconds if seconds is None else seconds, stopping, hear)
        except OSError as error:
            raise ToolFailed(f"it cannot be started ({error.strerror or error})") from error


@dataclass(frozen=True)
class Result:
    """`gaps` and `remarks` are reasons in the form of coverage, `code: sentence`; only gaps make a scan partial.

    `looked_at` counts pages or operations. `addresses` with a query are for the scanners that come after."""

    findings: list[ReportedFinding]
    gaps: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    looked_at: int = 0
    addresses: tuple[str, ...] = ()
