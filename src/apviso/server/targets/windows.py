"""Scan windows of targets: what people say of them, the stretch in which scans may start, and the duty that moves it on."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import SelectBase

from apviso.protocol.times import Window
from apviso.server.errors import TargetNotFound
from apviso.server.localtime import Hours, read_windows, span_at
from apviso.server.resources import Resources, Turn
from apviso.server.targets import store

# In one round; what is left is turned in the next.
MOST_AT_ONCE = 100


def of_wire(windows: Sequence[Window]) -> tuple[Hours, ...]:
    return read_windows(window.model_dump(by_alias=True) for window in windows)


def stretch(windows: Sequence[Hours], now: datetime) -> dict[str, datetime | None]:
    """The columns by which a claim sees whether a scan may start: the stretch that lasts, or the next one."""
    span = span_at(windows, now)
    opens_at, closes_at = (None, None) if span is None else (span.begins_at, span.ends_at)
    return {"window_opens_at": opens_at, "window_closes_at": closes_at}


def windows_to_turn(now: datetime, plant: Resources) -> Sequence[SelectBase]:
    return (store.to_turn(now),)


async def turn_windows(turn: Turn, plant: Resources) -> None:
    """Where a stretch is over, say when the next one comes; also where it was decided by a clock that was far ahead."""
    async with plant.database.reading() as work:
        found = await store.list_to_turn(work, MOST_AT_ONCE)
        stale = [one for one in found if stretch(one.scan_windows, work.now)["window_opens_at"] != one.window_opens_at]
    if not stale:
        return
    async with turn() as work:
        for target in stale:
            # Somebody may have changed or deleted it since.
            try:
                held = await store.get_locked(work, target.organization_id, target.id)
            except TargetNotFound:
                continue
            await store.edit(work, held.organization_id, held.id, **stretch(held.scan_windows, work.now))
