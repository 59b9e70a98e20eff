"""Runs an image once in one situation, as the runner would, and notes what happened. Judges nothing; leaves nothing running."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from apviso.runner.conformance.hearing import Hearing
from apviso.runner.conformance.situations import MANNERS, RUN_SECONDS, Situation, order_in, order_line
from apviso.runner.conformance.target import Manner, PracticeTarget, practice_target
from apviso.runner.engines import EngineFailed, Prepared, ScanExit, ScanLabels
from apviso.runner.engines.attached import ContainerScan
from apviso.runner.engines.container_engine import ContainerEngine
from apviso.runner.execution import REPORT_SECONDS, STOP_GRACE_SECONDS
from apviso.scanning.guard import Guard, GuardCounters, rules_for, start_guard
from apviso.scanning.order import ScanOrder

# A scan ends at its time limit by itself; beyond it the runner waits this long for its report.
MOST_SECONDS = RUN_SECONDS + REPORT_SECONDS
# For what needs no scan: to refuse an order, to ask the target for the first time.
PROMPT_SECONDS = 30.0
INPUT_END_SECONDS = 10.0
RUNNER = "scan-image-check"


@dataclass
class Trial:
    """`exit_code` is None where the scan did not end in time and was ended; `reaction_seconds` run from the stop to the end.

    `cannot_start` are the engine's words for an image that it could not start; `was_running`: the stop met a scan that still ran.
    """

    situation: Situation
    scan_path: str
    heard: Hearing = field(default_factory=Hearing)
    cannot_start: str | None = None
    exit_code: int | None = None
    was_running: bool = True
    reaction_seconds: float = 0.0
    paths: list[str] = field(default_factory=list)
    counters: GuardCounters = field(default_factory=GuardCounters)


@dataclass(frozen=True)
class Stand:
    """What all trials of an image share. `folder` is private to them."""

    engine: ContainerEngine
    prepared: Prepared
    scanners_dir: Path
    folder: Path


async def run_trial(stand: Stand, situation: Situation) -> Trial:
    """Raises EngineFailed where the engine went away, GuardFailed where no guard can be started."""
    # A path that nobody can guess: who asks for it has read the order.
    trial = Trial(situation, f"/{secrets.token_hex(4)}/")
    work = stand.folder / situation.name.lower()
    work.mkdir()
    async with practice_target(MANNERS.get(situation, Manner.ANSWERS)) as target:
        order = order_in(situation, f"http://127.0.0.1:{target.port}{trial.scan_path}")
        guard = await start_guard(
            rules_for(order.scan_id, order.target, order.limits, {}, None), stand.scanners_dir, work, 2 * MOST_SECONDS
        )
        try:
            await _let_run(stand, trial, order, guard, target, work)
        finally:
            trial.counters = await guard.close()
    trial.paths = target.paths
    return trial


async def _let_run(stand: Stand, trial: Trial, order: ScanOrder, guard: Guard, target: PracticeTarget, work: Path) -> None:
    try:
        async with _running(stand, trial, order, guard, work) as scan:
            await _follow(trial, scan, target)
    except EngineFailed as error:
        if await stand.engine.problem() is not None:
            raise
        trial.cannot_start = str(error)


@asynccontextmanager
async def _running(stand: Stand, trial: Trial, order: ScanOrder, guard: Guard, work: Path) -> AsyncIterator[ContainerScan]:
    """The scan in its container, both of which are gone afterwards."""
    line, port = order_line(trial.situation, order), int(guard.proxy_url.rpartition(":")[2])
    labels = ScanLabels(RUNNER, f"{work.parent.name}-{trial.situation.name.lower()}", 1)
    trial.heard = Hearing()
    starting = asyncio.create_task(stand.engine.start_with(stand.prepared, line, port, labels, work, trial.heard.take))
    try:
        yield await asyncio.shield(starting)
    finally:
        # An engine makes what it was asked for even when nobody waits any more, so an interrupted start is awaited, too.
        await (await starting).stop(0)


async def _follow(trial: Trial, scan: ContainerScan, target: PracticeTarget) -> None:
    """To its own end, or to the one that the situation makes for it."""
    if MANNERS.get(trial.situation) is not Manner.SILENT:
        ended = await _wait(scan, PROMPT_SECONDS if trial.situation is Situation.INVALID_ORDER else MOST_SECONDS)
    else:
        ended = await _until_busy(scan, target)
        trial.was_running = ended is None
        began = time.monotonic()
        if ended is None and trial.situation is Situation.TERMINATED:
            await scan.stop(STOP_GRACE_SECONDS)
            ended = await scan.wait()
        elif ended is None:
            scan.end_input()
            ended = await _wait(scan, INPUT_END_SECONDS)
        trial.reaction_seconds = time.monotonic() - began
    trial.exit_code = ended.code if ended else None


async def _until_busy(scan: ContainerScan, target: PracticeTarget) -> ScanExit | None:
    """Until the target was asked or could have been long since; the end of a scan that did not wait for it."""
    asked, ended = asyncio.create_task(target.asked.wait()), asyncio.create_task(scan.wait())
    try:
        await asyncio.wait((asked, ended), timeout=PROMPT_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        return ended.result() if ended.done() else None
    finally:
        asked.cancel()
        ended.cancel()
        await asyncio.gather(asked, ended, return_exceptions=True)


async def _wait(scan: ContainerScan, seconds: float) -> ScanExit | None:
    try:
        async with asyncio.timeout(seconds):
            return await scan.wait()
    except TimeoutError:
        return None
