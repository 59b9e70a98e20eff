"""Waits for a scan or a runner by reads that the server holds open until something changes. Decides and counts; sends nothing itself."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from time import monotonic
from typing import Any, Generic, TypeVar

from pydantic import BaseModel

from apviso.client.calls import Call, Seen, look, segment
from apviso.client.errors import WaitedTooLong
from apviso.protocol.runners import Runner, RunnerAnswer
from apviso.protocol.scans import Scan, ScanAnswer
from apviso.protocol.states import FINAL_STATUSES

# The server's longest is 60 s; many a proxy gives up at 60.
HELD_SECONDS = 50.0
# Who waits for less would be told of a control plane that is away long after their time is up.
PATIENT_SECONDS = 150.0
M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True)
class Wish(Generic[M]):
    """What is waited for. With `by_tag`, the server answers at every change of what is shown; without, at a change of the status."""

    path: str
    model: type[M]
    is_enough: Callable[[M], bool]
    on_change: Callable[[M], None]
    what: str
    by_tag: bool


def until(wish: Wish[M], seconds: float | None) -> Generator[Call[Any], Any, M]:
    """The first answer that is enough. Each that differs from the one before is told. Raises WaitedTooLong after `seconds`."""
    deadline = None if seconds is None else monotonic() + seconds
    wait: float | None = None
    is_patient = False
    last: Seen[M] = Seen(None, None)
    while True:
        seen: Seen[M] = yield look(wish.path, wish.model, tag=last.tag if wish.by_tag else None, wait=wait, is_patient=is_patient)
        if seen.value is not None and (seen.tag is None or seen.tag != last.tag):
            last = seen
            wish.on_change(seen.value)
            if wish.is_enough(seen.value):
                return seen.value
        left = HELD_SECONDS if deadline is None else deadline - monotonic()
        if left <= 0:
            raise WaitedTooLong(f"{wish.what} within {seconds:g} s")
        wait, is_patient = round(min(HELD_SECONDS, left), 3), deadline is None or left > PATIENT_SECONDS


def scan_end(scan_id: str, seconds: float | None, on_change: Callable[[Scan], None]) -> Generator[Call[Any], Any, Scan]:
    wish = Wish(
        path=f"/scans/{segment(scan_id)}",
        model=ScanAnswer,
        is_enough=lambda answer: answer.scan.status in FINAL_STATUSES,
        on_change=lambda answer: on_change(answer.scan),
        what="the scan did not end",
        # Its progress changes every second; a build has one limit of calls for all that it does. The end is told at once either way.
        by_tag=False,
    )
    return (yield from until(wish, seconds)).scan


def runner_ready(
    runner_id: str, seconds: float | None, is_ready: Callable[[Runner], bool], on_change: Callable[[Runner], None]
) -> Generator[Call[Any], Any, Runner]:
    wish = Wish(
        path=f"/runners/{segment(runner_id)}",
        model=RunnerAnswer,
        is_enough=lambda answer: is_ready(answer.runner),
        on_change=lambda answer: on_change(answer.runner),
        what="the runner was not ready",
        by_tag=True,
    )
    return (yield from until(wish, seconds)).runner


def ignore(changed: object) -> None:
    """For who wants to know the end alone."""


def accepts_jobs(runner: Runner) -> bool:
    return runner.accepting_jobs
