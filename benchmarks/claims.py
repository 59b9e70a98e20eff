"""Jobs claimed a second by eight runners at a time, beside other queues on PostgreSQL and the barest statements."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from sqlalchemy import insert, update

from apviso.protocol.daemon import Claim, ClaimAnswer
from apviso.protocol.states import ScanStatus
from apviso.protocol.tokens import Token, parse_token
from apviso.protocol.wire import OrganizationId
from apviso.server.access import DaemonCaller
from apviso.server.db.schema import AttemptRow, ScanRow, TargetRow
from apviso.server.fastlane import MOST_AT_ONCE
from apviso.server.resources import Resources
from apviso.server.runners.beats import Remembered
from apviso.server.runners.recall import recall
from apviso.server.scans import claiming
from apviso.server.waiting import Outcome
from benchmarks.fleet import DURABLE
from benchmarks.helper_process import helper_process
from benchmarks.in_process import control_plane
from benchmarks.measuring import Absent, Bar, Side, Told, interleaved, ratios
from benchmarks.peers import QUEUES, PeerAbsent
from benchmarks.plant import Plant
from benchmarks.seeding import scan_row, target_row
from tests.support.postgres import postgres_server

ROUNDS = 5
CLAIMERS, SECONDS = 8, 2.0
# Two slots each: more claims in a round than any side makes.
RUNNERS, JOBS, BATCH = 10_000, 20_000, 1_000
_NONCES = count()


async def rows() -> list[Told]:
    try:
        python = QUEUES.program("python")
    except PeerAbsent as why:
        return [Absent("G7: claims", str(why))]
    with ExitStack() as stack:
        postgres = await asyncio.to_thread(lambda: stack.enter_context(postgres_server(**DURABLE)))
        own, *others = [stack.enter_context(postgres.database()) for _ in range(4)]
        script = str(Path(__file__).with_name("plain_claims.py"))
        async with (
            helper_process(python, script, str(postgres.folder), *others) as plain,
            claimed_from(postgres.url(own)) as on_postgres,
            claimed_from("") as on_sqlite,
        ):
            given = await interleaved(
                ROUNDS,
                on_postgres.by(CLAIMERS),
                *(plain.asks(word) for word in ("bare", "procrastinate", "pgqueuer")),
                on_sqlite.by(CLAIMERS),
                on_sqlite.by(1),
                plain.asks("sqlite"),
            )
    return _bars(*given)


def _bars(
    ours: list[float],
    bare: list[float],
    procrastinate: list[float],
    pgqueuer: list[float],
    sqlite: list[float],
    alone: list[float],
    plain: list[float],
) -> list[Told]:
    sides = {
        "ours on PostgreSQL: authorized, audited, told to the live stream": ours,
        "one UPDATE with SKIP LOCKED, asyncpg": bare,
        "procrastinate 3.10.0, fetch_job": procrastinate,
        "pgqueuer 1.6.0, dequeue one": pgqueuer,
        "ours on SQLite": sqlite,
        "ours on SQLite, one claimer: a transaction for each": alone,
        "one UPDATE in a transaction, sqlite3, one writer": plain,
    }
    told = [Side(name, values, "claims a second") for name, values in sides.items()]
    what = f"claims a second by {CLAIMERS} runners at a time, of"
    return [
        Bar("G7", f"{what} a bare statement's on PostgreSQL", ratios(ours, bare), 0.7, True, told),
        Bar("G7", f"{what} procrastinate's", ratios(ours, procrastinate), 1.5, True),
        Bar("G7", f"{what} pgqueuer's", ratios(ours, pgqueuer), 1.5, True),
        Bar("G7", f"{what} one's alone on SQLite", ratios(sqlite, alone), 2.0, True),
    ]


@dataclass
class Claimed:
    """Claims against one control plane in this process."""

    ready: Plant
    plant: Resources

    def by(self, claimers: int) -> Callable[[], Awaitable[float]]:
        """Claims a second when so many runners claim at a time, each runner another one in turn, as they do that were idle."""

        async def deed() -> float:
            await self._queue_again()
            known = iter(await self._remembered())
            began = time.perf_counter()
            taken = await asyncio.gather(*(self._claim(known, began) for _ in range(claimers)))
            return sum(taken) / (time.perf_counter() - began)

        return deed

    async def _claim(self, known: Iterator[tuple[Token, Remembered]], began: float) -> int:
        """What `fastlane` does with a claim, from the request's model to the answer's."""
        taken, loop = 0, asyncio.get_running_loop()
        while time.perf_counter() - began < SECONDS:
            token, runner = next(known)
            facts, claim = runner.facts, Claim(nonce=f"nonce-{next(_NONCES)}", free_slots=1)
            caller = DaemonCaller(facts.id, facts.organization_id, facts.name, token, None, "bench")
            ticket = claiming.Ticket(caller, claim, facts, runner.directives, _is_here)
            answer = await claiming.stand_in_line(self.plant, ticket, loop.time() + 5)
            if answer is Outcome.LOOK_AGAIN:
                answer = await claiming.answer(self.plant, caller, claim, 5, _is_here)
            assert isinstance(answer, ClaimAnswer), answer
            assert answer.job is not None, answer.not_accepting
            taken += 1
        return taken

    async def _remembered(self) -> list[tuple[Token, Remembered]]:
        """The runners with their tokens, read as a process does that hears of them for the first time."""
        tokens = [parse_token(one.token) for one in self.ready.runners]
        found: list[tuple[Token, Remembered]] = []
        for start in range(0, len(tokens), MOST_AT_ONCE):
            some = {token.prefix: token for token in tokens[start : start + MOST_AT_ONCE] if token is not None}
            found += [(some[prefix], runner) for prefix, runner in (await recall(self.plant, some)).items()]
        return found

    async def _queue_again(self) -> None:
        """As if each claim of the round before had ended, and its scan waited again."""
        async with self.plant.database.writing() as work:
            live = update(AttemptRow).where(AttemptRow.ended_at.is_(None))
            await work.db.execute(live.values(ended_at=work.now, silent_at=work.now))
            assigned = update(ScanRow).where(ScanRow.status == ScanStatus.ASSIGNED)
            await work.db.execute(assigned.values(status=ScanStatus.PENDING_RUNNER, runner_id=None))
        self.plant.waiting.hint(OrganizationId(self.ready.organization_id))


async def _is_here() -> bool:
    return False


@asynccontextmanager
async def claimed_from(database_url: str) -> AsyncIterator[Claimed]:
    async with control_plane(RUNNERS, database_url) as (ready, plant):
        made = [target_row(ready.organization_id, number) for number in range(JOBS)]
        for first in range(0, JOBS, BATCH):
            batch = made[first : first + BATCH]
            async with plant.database.writing() as work:
                await work.db.execute(insert(TargetRow), [{**one, "created_at": work.now} for one in batch])
                await work.db.execute(insert(ScanRow), [{**scan_row(one), "created_at": work.now} for one in batch])
        # As a database does by itself after a while.
        await plant.database.take_stock()
        if plant.database.is_shared:
            async with plant.database.writing() as work:
                await work.db.exec_driver_sql("ANALYZE")
        yield Claimed(ready, plant)
