"""Settles what an earlier process left behind: its processes end, its events arrive, its attempts get their end. Never runs a scan."""

from __future__ import annotations

import asyncio
import shutil
from dataclasses import dataclass
from pathlib import Path

import structlog

from apviso.protocol.daemon import Finish
from apviso.protocol.states import EndReason
from apviso.runner.attempts import Roster
from apviso.runner.delivery import deliver
from apviso.runner.endings import failed
from apviso.runner.engines.process_group import end_marked
from apviso.runner.records import AttemptFiles, AttemptRecord
from apviso.runner.refusals import IdentityRejected
from apviso.runner.spool import Spool
from apviso.runner.station import Station
from apviso.runner.uploader import Uploader
from apviso.runner.workspace import Workspace

log = structlog.get_logger("apviso.runner.leftovers")


@dataclass(frozen=True)
class Leftover:
    key: str
    files: AttemptFiles
    record: AttemptRecord


def find_leftovers(workspace: Workspace) -> list[Leftover]:
    """Attempts of earlier processes. Folders that belong to none are deleted on the way."""
    found = []
    for key in sorted(_names(workspace.spool) | _names(workspace.jobs)):
        files = AttemptFiles.of(workspace, key)
        record = files.find_record()
        if record is None:
            files.remove()
        else:
            found.append(Leftover(key, files, record))
    return found


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.is_dir()} if folder.is_dir() else set()


async def end_processes(leftovers: list[Leftover]) -> None:
    """Before anything else: a scan of which nobody knows must not go on."""
    for leftover in leftovers:
        for mark in leftover.record.processes:
            if await end_marked(mark):
                log.warning("leftover_process_ended", job=leftover.key, role=mark.role, pid=mark.pid)
        shutil.rmtree(leftover.files.work, ignore_errors=True)


def settle_all(leftovers: list[Leftover], station: Station, roster: Roster, tasks: asyncio.TaskGroup) -> None:
    """One task for each, beside the loops: an outage must not keep the runner from reporting in."""
    for leftover in leftovers:
        roster.add_leftover(leftover.key, leftover.record.job_id, leftover.record.attempt)
        tasks.create_task(_settle(leftover, station, roster))


async def _settle(leftover: Leftover, station: Station, roster: Roster) -> None:
    try:
        await _settle_with_spool(leftover, station)
    except IdentityRejected as error:
        station.on_rejected(error)
    except Exception:
        # What cannot be settled now, such as on a full disk, must not keep the runner from its work; it is kept for the next start.
        log.exception("leftover_kept", job=leftover.key)
    finally:
        roster.remove_leftover(leftover.key)


async def _settle_with_spool(leftover: Leftover, station: Station) -> None:
    spool = Spool(leftover.files.spool)
    try:
        await _deliver(leftover, station, spool)
    finally:
        spool.close()
    leftover.files.remove()
    log.info("leftover_settled", job=leftover.key)


async def _deliver(leftover: Leftover, station: Station, spool: Spool) -> None:
    record = leftover.record
    finish = leftover.files.find_finish() or _lost(record, spool)
    uploader = Uploader(record.job_id, record.attempt, spool, station.plane, on_rejected=station.on_rejected)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(uploader.run())
        try:
            await deliver(finish, record.job_id, leftover.files, uploader, station.plane)
        finally:
            running.cancel()


def _lost(record: AttemptRecord, spool: Spool) -> Finish:
    """The end of an attempt whose runner died before it knew one; the control plane tries again by itself."""
    ending = failed(EndReason.RUNNER_LOST, "The runner's process ended while the scan ran; a new one found the attempt.")
    return ending.as_finish(record.attempt, spool.last_seq, {"settledAfterRestart": True})
