"""What every engine offers: run one scan apart from the runner, give its output line by line, end it for certain."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pydantic import JsonValue

from apviso.protocol.daemon import ScanImage
from apviso.protocol.states import EndReason
from apviso.runner.records import ProcessMark
from apviso.scanning.order import ScanOrder


class EngineFailed(Exception):
    """The scan could not be started, or its engine went away; `reason` says how the attempt ends."""

    def __init__(self, message: str, reason: EndReason = EndReason.ENGINE_UNAVAILABLE) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True)
class ScanExit:
    """`code` is negative for a signal; `out_of_memory` is known only where the system says so; `flooded`: it wrote too much."""

    code: int
    out_of_memory: bool = False
    flooded: bool = False


@dataclass(frozen=True)
class Spoken:
    """One line of the scan's standard output (`error` false) or standard error (`error` true), without its end."""

    text: bytes
    error: bool = False


@dataclass(frozen=True)
class Swallowed:
    """A line that was too long to keep."""

    size: int


Line = Spoken | Swallowed


@dataclass(frozen=True)
class ScanLabels:
    """Whose a scan is, so that it can be recognized whatever becomes of its runner."""

    runner_id: str
    job_id: str
    attempt: int


@dataclass(frozen=True)
class Prepared:
    """The program of a scan, ready to start: the engine's own name of its image and the digest of it, both None without images.

    `model_providers` are those that the image says it can use; it needs one of them, or none where it names none.
    """

    image: str | None = None
    digest: str | None = None
    model_providers: tuple[str, ...] = ()


class RunningScan(Protocol):
    @property
    def mark(self) -> ProcessMark | None:
        """The process by which a later runner can find this scan."""

    async def stop(self, grace_seconds: float) -> None:
        """End the scan and all it started; when this returns nothing of it is left."""

    def kill(self) -> None:
        """End it at once, without waiting: for when the runner itself is about to end."""

    async def wait(self) -> ScanExit:
        """How it ended. Every line was taken by then."""


class Engine(Protocol):
    @property
    def name(self) -> str: ...

    def describe(self) -> Mapping[str, JsonValue]:
        """Facts for capabilities and doctor; `isolation` names the kind, `limits` says in sentences what it does not do."""

    async def problem(self) -> str | None:
        """Why no scan can be started now, None where one can. Answers within seconds, whatever the engine does."""

    async def prepare(self, image: ScanImage | None) -> Prepared:
        """Have the program of a scan at hand, `image` where the control plane names one.

        Raises EngineFailed. Cancelling is safe: what was fetched stays for the next time.
        """

    async def start(
        self, prepared: Prepared, order: ScanOrder, labels: ScanLabels, work_dir: Path, take: Callable[[Line], None]
    ) -> RunningScan:
        """Start what was prepared; `take` is given each line as it comes. Raises EngineFailed."""

    async def end_leftovers(self) -> list[str]:
        """End what earlier processes of this workspace left running; names of what was ended. Raises EngineFailed."""
