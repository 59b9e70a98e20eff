"""Reports that nobody has asked for: the timed duty that writes them, and the worker that makes their PDF files one by one."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog

from apviso.server.errors import DatabaseUnavailable, Overloaded
from apviso.server.reports import store, writing
from apviso.server.resources import Resources, Turn
from apviso.server.scans import store as scans
from apviso.server.typesetting.process import TypesettingFailed

log = structlog.get_logger("apviso.reports")
# In one round; other duties are waiting.
REPORTS_AT_ONCE = 10


async def write_reports(turn: Turn, plant: Resources) -> None:
    """Write the reports of scans that have ended, some at a time."""
    async with plant.database.reading() as work:
        unwritten = await store.list_unwritten(work, REPORTS_AT_ONCE)
        ended = [await scans.get(work, organization_id, scan_id) for organization_id, scan_id in unwritten]
    for scan in ended:
        try:
            await writing.write(plant, scan, turn)
        except DatabaseUnavailable:
            raise
        except Exception:  # one that cannot be written must not keep back those after it
            log.exception("report not written", scan_id=scan.id)


async def typeset_next(plant: Resources) -> bool:
    """Make the PDF that has waited longest; False where none is waiting."""
    async with plant.database.reading() as work:
        waiting = await store.find_unset(work)
        report = None if waiting is None else await store.find(work, *waiting)
    if waiting is None or report is None:
        return False
    async with plant.database.writing() as work:
        await store.count_try(work, report.scan_id)
    try:
        await writing.typeset(plant, report, waiting[0])
    except TypesettingFailed as error:
        log.warning("report not typeset", scan_id=report.scan_id, reason=str(error))
    return True


async def _typeset_what_waits(plant: Resources, is_over: asyncio.Event) -> None:
    if plant.typesetter.why_not is not None:
        return
    try:
        while not is_over.is_set() and plant.replica.is_keeping_house and await typeset_next(plant):
            pass
    except (DatabaseUnavailable, Overloaded) as refusal:
        log.warning("typesetting put off", reason=refusal.detail)
    except Exception:  # the next round does what this one could not
        log.exception("typesetting failed")


@asynccontextmanager
async def running(plant: Resources) -> AsyncIterator[None]:
    """Make PDF files while the application lives, in one of the processes. What is being set at the end is set again later."""

    async def loop() -> None:
        while not is_over.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(is_over.wait(), plant.settings.housekeeping_interval_seconds)
            await _typeset_what_waits(plant, is_over)

    is_over = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(loop(), name="typesetting")
        try:
            yield
        finally:
            is_over.set()
            plant.typesetter.close()
