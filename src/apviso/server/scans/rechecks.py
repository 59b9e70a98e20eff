"""Looks for every proof of control about once a month, and ahead of schedules: a worker of its own, with no transaction open meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta

import structlog

from apviso.server.errors import DatabaseUnavailable
from apviso.server.resources import Resources
from apviso.server.scans.proofs import note, seek
from apviso.server.targets import store as targets
from apviso.server.targets.facts import KnownTarget
from apviso.server.verification.looking import Look

log = structlog.get_logger("apviso.rechecks")
# They are due by the day; a minute is soon.
EVERY_SECONDS = 60.0
IN_A_ROUND, AT_ONCE = 40, 8
# A look with all its waits is over by then; one that a process did not survive is made again after the hour.
LOOK_SECONDS = 120.0
PUT_OFF = timedelta(hours=1)
# A schedule starts its scan within a transaction, which waits for nobody outside: the look is made ahead of it.
SCHEDULED_SOON = timedelta(minutes=10)


@dataclass
class Rounds:
    """Looks that are under way, so that the end of the application can give them up."""

    is_over: asyncio.Event = field(default_factory=asyncio.Event)
    under_way: set[asyncio.Task[Look]] = field(default_factory=set)

    def end(self) -> None:
        self.is_over.set()
        for looking in self.under_way:
            looking.cancel()


async def run_once(plant: Resources, rounds: Rounds) -> int:
    """Look at what is due now, at most one round of it; how many those were."""
    async with plant.database.reading() as work:
        due = await targets.list_to_look_at(work, IN_A_ROUND, work.now + SCHEDULED_SOON, work.now + PUT_OFF)
    if not due:
        return 0
    async with plant.database.writing() as work:
        await targets.put_off_looks(work, [target.id for target in due], work.now + PUT_OFF)
    room = asyncio.Semaphore(AT_ONCE)

    async def one(target: KnownTarget) -> None:
        async with room:
            if not rounds.is_over.is_set():
                await _look(plant, target, rounds)

    await asyncio.gather(*map(one, due))
    return len(due)


async def _look(plant: Resources, target: KnownTarget, rounds: Rounds) -> None:
    looking = asyncio.create_task(seek(plant, target))
    rounds.under_way.add(looking)
    try:
        await asyncio.wait([looking], timeout=LOOK_SECONDS)
        if not looking.done() or looking.cancelled():
            return  # it is made again
        error = looking.result().error
        await plant.database.again(lambda: note(plant, target, error))
    except DatabaseUnavailable as refusal:
        log.warning("look put off", target_id=target.id, reason=refusal.detail)
    except Exception:  # one that fails stops no other, and is made again
        log.exception("look failed", target_id=target.id)
    finally:
        looking.cancel()
        rounds.under_way.discard(looking)


async def _again_and_again(plant: Resources, rounds: Rounds) -> None:
    while not rounds.is_over.is_set():
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(rounds.is_over.wait(), EVERY_SECONDS)
        try:
            while not rounds.is_over.is_set() and await plant.replica.keeps_house() and await run_once(plant, rounds) == IN_A_ROUND:
                pass
        except DatabaseUnavailable as refusal:
            log.warning("round put off", reason=refusal.detail)
        except Exception:  # the next round does what this one could not
            log.exception("round failed")


@asynccontextmanager
async def running(plant: Resources) -> AsyncIterator[None]:
    """Look again and again while the application lives. Looks that are under way at its end are given up; a note that has begun is not."""
    rounds = Rounds()
    async with asyncio.TaskGroup() as group:
        group.create_task(_again_and_again(plant, rounds), name="rechecks")
        try:
            yield
        finally:
            rounds.end()
