"""Reports that nobody has asked for: the timed duty that writes them, and the worker that makes their PDF files one by one."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime

import structlog
from sqlalchemy import SelectBase

from apviso.server.errors import DatabaseUnavailable, Overloaded
from apviso.server.reports import store, writing
from apviso.server.resources import Resources, Turn

log = structlog.get_logger("apviso.reports")
# In one round; other duties are waiting.
REPORTS_AT_ONCE = 10


def reports_to_write(now: datetime, plant: Resources) -> Sequence[SelectBase]:
    return (store.unwritten(now),)


async def write_reports(turn: Turn, plant: Resources) -> None:
    """Write the reports of scans that have ended, some at a time."""
    async with plant.database.reading() as work:
        unwritten = await store.list_unwritten(work, REPORTS_AT_ONCE)
    for organization_id, scan_id in unwritten:
        await writing.try_to_write(plant, organization_id, scan_id, turn)


async def typeset_next(plant: Resources) -> bool:
    """Make the PDF that has waited longest; False where none is waiting."""
    async with plant.database.reading() as work:
        waiting = await store.find_unset(work)
        report = None if waiting is None else await store.find(work, *waiting)
    if waiting is None or report is None:
        return False
    async with plant.database.writing() as work:
        await store.count_try(work, report.scan_id)
    await writing.try_to_typeset(plant, replace(report, pdf_tries_left=report.pdf_tries_left - 1), waiting[0])
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
