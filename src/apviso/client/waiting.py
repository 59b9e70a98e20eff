"""Waits for a scan or a runner by reads that the server holds open until something changes. Decides and counts; sends nothing itself."""

from __future__ import annotations

from collections.abc import Callable, Generator
from time import monotonic
from typing import Any, TypeVar

from pydantic import BaseModel

from apviso.client.calls import Call, Seen, look, segment
from apviso.client.errors import WaitedTooLong
from apviso.protocol.runners import Runner, RunnerAnswer
from apviso.protocol.scans import Scan, ScanAnswer
from apviso.protocol.states import FINAL_STATUSES

# The server's longest is 60 s; many a proxy gives up at 60.
HELD_SECONDS = 50.0
M = TypeVar("M", bound=BaseModel)


def until(
    path: str, model: type[M], is_enough: Callable[[M], bool], on_change: Callable[[M], None], seconds: float | None, what: str
) -> Generator[Call[Any], Any, M]:
    """The first answer that is enough. Each that differs from the one before is told. Raises WaitedTooLong after `seconds`."""
    deadline = None if seconds is None else monotonic() + seconds
    wait: float | None = None
    tag: str | None = None
    while True:
        seen: Seen[M] = yield look(path, model, tag=tag, wait=wait)
        if seen.value is not None:
            tag = seen.tag
            on_change(seen.value)
            if is_enough(seen.value):
                return seen.value
        left = HELD_SECONDS if deadline is None else deadline - monotonic()
        if left <= 0:
            raise WaitedTooLong(f"{what} within {seconds:g} s")
        wait = round(min(HELD_SECONDS, left), 3)


def scan_end(scan_id: str, seconds: float | None, on_change: Callable[[Scan], None]) -> Generator[Call[Any], Any, Scan]:
    answer = yield from until(
        f"/scans/{segment(scan_id)}",
        ScanAnswer,
        lambda answer: answer.scan.status in FINAL_STATUSES,
        lambda answer: on_change(answer.scan),
        seconds,
        "the scan did not end",
    )
    return answer.scan


def runner_ready(
    runner_id: str, seconds: float | None, is_ready: Callable[[Runner], bool], on_change: Callable[[Runner], None]
) -> Generator[Call[Any], Any, Runner]:
    answer = yield from until(
        f"/runners/{segment(runner_id)}",
        RunnerAnswer,
        lambda answer: is_ready(answer.runner),
        lambda answer: on_change(answer.runner),
        seconds,
        "the runner was not ready",
    )
    return answer.runner


def ignore(changed: object) -> None:
    """For who wants to know the end alone."""


def accepts_jobs(runner: Runner) -> bool:
    return runner.accepting_jobs
