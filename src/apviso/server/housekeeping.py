"""Timed duties: one loop in one of the processes, each duty in transactions of its own, so that one that fails stops no other."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

import structlog
from sqlalchemy import SelectBase, or_, select

from apviso.server.accounts import store as accounts
from apviso.server.audit import store as audit
from apviso.server.db import answers, clock_steps, roll_call
from apviso.server.db.engine import Work
from apviso.server.db.locks import DutyLock, take
from apviso.server.errors import DatabaseUnavailable
from apviso.server.findings.duties import end_accepted_risks, risks_to_end
from apviso.server.metrics import duty_measured
from apviso.server.organizations.expiry import keys_to_tell_of, tell_expiring_keys
from apviso.server.readiness.turns import tell_turns, turns_to_tell
from apviso.server.readiness.watch import observe_readiness
from apviso.server.reports.duties import reports_to_write, write_reports
from apviso.server.resources import Resources, Turn, Wanted
from apviso.server.runners import store as runners
from apviso.server.runners.health import quarter_of
from apviso.server.runners.sampling import sample_health
from apviso.server.runners.watch import everyone_to_observe, observe, observe_everyone, policy_of
from apviso.server.scans.duties import drains_to_force, force_drains, run_timers, timers_to_run
from apviso.server.schedules import store as schedules
from apviso.server.schedules.duties import run_schedules, schedules_to_run
from apviso.server.signals import EVERYONE, jobs_topic, stream_topic
from apviso.server.stream import store as stream
from apviso.server.targets.windows import turn_windows, windows_to_turn
from apviso.server.webhooks.fanning_out import fan_out, forget_log, log_to_forget, webhooks_to_tell

log = structlog.get_logger("apviso.housekeeping")
# A duty that hangs must not stop the clock for the others.
DUTY_SECONDS = 30.0
# A table that grew from nothing is not asked by the wrong index for longer.
STOCK_EVERY = timedelta(minutes=5)
# With ten thousand runners it takes most of a second, in which nobody is answered.
GARBAGE_EVERY = timedelta(hours=1)

Duty = Callable[[Turn, Resources], Awaitable[None]]


async def follow_the_clock(turn: Turn, plant: Resources) -> None:
    """Where the host's clock was set, what waits are counted from moves along; only then does the server's own follow."""
    timekeeper = plant.timekeeper
    if timekeeper is None or not (step := timekeeper.step):
        return
    log.warning("the host's clock was set", seconds=round(step.total_seconds()))
    async with turn() as work:
        await clock_steps.move(work, step)
        work.afterwards.extend((partial(timekeeper.follow, step), plant.replica.grant_amnesty))
        # What is remembered of runners is from before the step.
        work.hints.add(EVERYONE)


async def end_roll_calls(turn: Turn, plant: Resources) -> None:
    """Runners that have not answered a roll call in time are waited for no longer."""
    if not plant.roll_call.may_be_on:
        return
    async with turn() as work:
        for organization_id, left in await roll_call.end_what_is_over(work):
            log.warning("roll call ended without some runners", organization_id=organization_id, runners=left)
            # Whether a scan could start is judged anew, too.
            work.hints.update((jobs_topic(organization_id), stream_topic(organization_id)))


async def watch_runners(turn: Turn, plant: Resources) -> None:
    """Note who went silent, fell ill or came back."""
    await observe_everyone(turn, plant)


def pauses_to_end(now: datetime, plant: Resources) -> Sequence[SelectBase]:
    return (runners.paused_no_longer(now),)


async def end_pauses(turn: Turn, plant: Resources) -> None:
    """Pauses with an end, and quarantines, are over when it comes."""
    async with turn() as work:
        for organization_id, runner_id in await runners.end_expired_pauses(work):
            runner = await runners.get(work, organization_id, runner_id)
            # After a quarantine it has yet to show that it works.
            action = "runner.resumed" if runner.quarantine is None else "runner.on_trial"
            await audit.record(work, organization_id, audit.SYSTEM, action, ("runner", runner_id), None, reason="until reached")
            if runner.quarantine is not None:
                await observe(work, runner, policy_of(plant))
                stream.publish(work, organization_id, action, runnerId=runner_id, name=runner.name)
            # Whether a scan could start is judged anew, too.
            work.hints.update((jobs_topic(organization_id), stream_topic(organization_id)))


def what_to_forget(now: datetime, plant: Resources) -> Sequence[SelectBase]:
    timers = plant.settings.timers
    return (
        answers.older_than(now - timers.idempotency_kept),
        stream.older_than(now - timers.stream_kept),
        schedules.older_than(now - timers.schedule_runs_kept),
        *accounts.over(now, now - plant.settings.session_idle),
        *log_to_forget(now, plant),
    )


async def forget(turn: Turn, plant: Resources) -> None:
    """Drop what is kept for a time only."""
    timers = plant.settings.timers
    async with turn() as work:
        await answers.forget_before(work, work.now - timers.idempotency_kept)
        await stream.forget_before(work, work.now - timers.stream_kept)
        await schedules.forget_before(work, work.now - timers.schedule_runs_kept)
        await accounts.forget_before(work, work.now, work.now - plant.settings.session_idle)
    await forget_log(turn, plant)


DUTIES: tuple[Duty, ...] = (
    follow_the_clock,
    run_timers,
    force_drains,
    end_roll_calls,
    watch_runners,
    end_pauses,
    end_accepted_risks,
    tell_turns,
    observe_readiness,
    turn_windows,
    run_schedules,
    write_reports,
    tell_expiring_keys,
    fan_out,
    forget,
)
# In each quarter of an hour, as the clock has them.
QUARTERLY: tuple[Duty, ...] = (sample_health,)
# What these want is looked for together; the others know without the database, or are always done.
WANTED: Mapping[Duty, Wanted] = {
    run_timers: timers_to_run,
    force_drains: drains_to_force,
    watch_runners: everyone_to_observe,
    end_pauses: pauses_to_end,
    end_accepted_risks: risks_to_end,
    tell_turns: turns_to_tell,
    turn_windows: windows_to_turn,
    run_schedules: schedules_to_run,
    write_reports: reports_to_write,
    tell_expiring_keys: keys_to_tell_of,
    fan_out: webhooks_to_tell,
    forget: what_to_forget,
}


async def run_once(plant: Resources, duties: Sequence[Duty] = DUTIES) -> None:
    """Do every duty once that has something to do, after the round that may be under way."""
    async with plant.round:
        idle: frozenset[Duty] | None = None
        for duty in duties:
            if duty in WANTED and idle is None:
                idle = await _idle(plant, duties)
            # What one has written may be another's to go on with: it is looked for again.
            if (idle is None or duty not in idle) and await _do(duty, plant):
                idle = None


async def _idle(plant: Resources, duties: Sequence[Duty]) -> frozenset[Duty]:
    """Those of the duties that have nothing to do, by one look for all of them."""
    asked = [duty for duty in duties if duty in WANTED]
    try:
        async with asyncio.timeout(DUTY_SECONDS), plant.database.reading() as work:
            wanted = (or_(*(found.exists() for found in WANTED[duty](work.now, plant))) for duty in asked)
            row = (await work.db.execute(select(*wanted))).one()
    except (DatabaseUnavailable, TimeoutError) as refusal:
        log.warning("duties looked for one by one", reason=str(refusal))
    except Exception:  # each of them looks by itself
        log.exception("look for duties failed")
    else:
        return frozenset(duty for duty, is_wanted in zip(asked, row, strict=True) if not is_wanted)
    return frozenset()


async def _do(duty: Duty, plant: Resources) -> bool:
    """Whether it may have changed anything."""
    turns = Turns(plant, DutyLock(duty.__name__))
    try:
        async with duty_measured(duty.__name__), asyncio.timeout(DUTY_SECONDS):
            await duty(turns.take, plant)
    except DatabaseUnavailable as refusal:
        log.warning("duty put off", duty=duty.__name__, reason=refusal.detail)
    except Exception:  # the next round does what this one could not
        log.exception("duty failed", duty=duty.__name__)
    return turns.taken > 0


@dataclass
class Turns:
    """The transactions of one duty, which no other process does at the same time."""

    plant: Resources
    lock: DutyLock
    taken: int = 0

    @asynccontextmanager
    async def take(self) -> AsyncIterator[Work]:
        self.taken += 1
        async with self.plant.database.writing() as work:
            await take(work.db, self.lock)
            yield work


async def keep_pace(plant: Resources) -> None:
    """Count the runners from time to time; every process does, because each tells them how often to report."""
    if not plant.pace.is_due(plant.database.clock()):
        return
    try:
        async with asyncio.timeout(DUTY_SECONDS), plant.database.reading() as work:
            plant.pace.count(await runners.count_everyone(work), work.now)
    except (DatabaseUnavailable, TimeoutError) as refusal:
        log.warning("runners not counted", reason=str(refusal))


async def take_stock(plant: Resources) -> None:
    try:
        async with asyncio.timeout(DUTY_SECONDS):
            await plant.database.take_stock()
    except (DatabaseUnavailable, TimeoutError) as refusal:
        log.warning("stock not taken", reason=str(refusal))


@dataclass
class Period:
    """What is to be done again after `length`, and for the first time after `since` or at once."""

    length: timedelta
    since: datetime | None = None

    def is_over(self, now: datetime) -> bool:
        """Whether it is time; if so, the next period has begun. A clock that was set back ends it, too."""
        if self.since is not None and timedelta() <= now - self.since < self.length:
            return False
        self.since = now
        return True


@asynccontextmanager
async def running(plant: Resources, *, at_once: bool = True) -> AsyncIterator[None]:
    """Run the duties again and again while the application lives, for the first time `at_once` or after one interval."""

    async def loop() -> None:
        now = plant.database.clock
        stock, garbage, sampled, is_due = Period(STOCK_EVERY, now()), Period(GARBAGE_EVERY, now()), 0, at_once
        while not is_over.is_set():
            await keep_pace(plant)
            if stock.is_over(now()):
                await take_stock(plant)
            if garbage.is_over(now()):
                # What `serving` leaves to it.
                gc.collect()
            if await plant.replica.keeps_house():
                if is_due:
                    await run_once(plant)
                if is_due and (quarter := quarter_of(now())) != sampled:
                    await run_once(plant, QUARTERLY)
                    sampled = quarter
            elif plant.timekeeper is not None and plant.replica.is_among_others:
                # The rows are for whoever keeps house.
                plant.timekeeper.follow(plant.timekeeper.step)
            is_due = True
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(is_over.wait(), plant.settings.housekeeping_interval_seconds)

    # A duty that has begun comes to its end: one that is cut off leaves its connection behind.
    is_over = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(loop(), name="housekeeping")
        try:
            yield
        finally:
            is_over.set()
