"""What every engine offers: run one scan apart from the runner, give its output line by line, end it for certain."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pydantic import JsonValue

from apviso.runner.records import ProcessMark
from apviso.scanning.order import ScanOrder


class EngineFailed(Exception):
    """The scan could not be started. The cause lies with this host, so another runner may fare better."""


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

    def problem(self) -> str | None:
        """Why no scan can be started now, None where one can."""

    async def start(self, order: ScanOrder, work_dir: Path, take: Callable[[Line], None]) -> RunningScan:
        """Start it; `take` is given each line as it comes. Raises EngineFailed."""
