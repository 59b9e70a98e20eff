"""Keeps what runners say of their health over time: once in a quarter of an hour, of everyone, some at a time."""

from __future__ import annotations

import asyncio

from apviso.protocol.wire import RunnerId
from apviso.server.resources import Resources, Turn
from apviso.server.runners import store
from apviso.server.runners.health import quarter_of, sample_of
from apviso.server.runners.history import BAR

RUNNERS_AT_ONCE = 500


async def sample_health(turn: Turn, plant: Resources) -> None:
    """Of whoever was heard of in the last quarter. A quarter that is sampled again is written over."""
    last: RunnerId | None = RunnerId("")
    while last is not None:
        async with plant.database.reading() as work:
            quarter = quarter_of(work.now)
            said = await store.list_said_health(work, work.now - BAR, last, RUNNERS_AT_ONCE)
        samples = [(runner_id, sample) for runner_id, health in said if (sample := sample_of(health)) is not None]
        if samples:
            async with turn() as work:
                await store.keep_samples(work, quarter, samples)
        last = said[-1][0] if len(said) == RUNNERS_AT_ONCE else None
        await asyncio.sleep(0)
