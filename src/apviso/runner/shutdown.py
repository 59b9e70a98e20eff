"""How a daemon stops: the order, in one list, and who may ask for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

import structlog

from apviso.protocol.daemon import Goodbye
from apviso.runner.attempts import Roster, Stop
from apviso.runner.control_plane import ControlPlane
from apviso.runner.refusals import CallFailed
from apviso.runner.retrying import pause

log = structlog.get_logger("apviso.runner.shutdown")

# A stopped scan is gone within 15 s (grace, then SIGKILL); the rest is for its last events and its end.
SETTLE_SECONDS = 30.0
GOODBYE_SECONDS = 5.0


class Outcome(StrEnum):
    """How the daemon ended."""

    STOPPED = "stopped"
    ABORTED = "aborted"
    RETIRED = "retired"
    REVOKED = "revoked"
    REJECTED = "rejected"


@dataclass
class StopRequest:
    """The first request decides how; a second signal aborts."""

    outcome: Outcome | None = None
    requested: asyncio.Event = field(default_factory=asyncio.Event)
    aborted: asyncio.Event = field(default_factory=asyncio.Event)

    def signal(self) -> None:
        if self.requested.is_set():
            self.aborted.set()
        self.ask(Outcome.STOPPED)

    def ask(self, outcome: Outcome) -> None:
        # A rejected identity outranks a plain stop: there is nobody left to say goodbye to.
        if self.outcome in {None, Outcome.STOPPED}:
            self.outcome = outcome
        self.requested.set()


@dataclass(frozen=True)
class Shutdown:
    """`is_accepted` is false when the control plane no longer knows this runner; `kill_scans` ends what still runs, at once."""

    roster: Roster
    plane: ControlPlane
    boot_id: str
    grace_seconds: float
    stop_claiming: Callable[[], None]
    stop_heartbeats: Callable[[], None]
    kill_scans: Callable[[], None]
    is_accepted: Callable[[], bool]

    async def in_order(self) -> None:
        """The order. Renewals go on to its end, heartbeats to the goodbye."""
        for step in (
            self._take_nothing_new,
            self._let_scans_finish,
            self._stop_the_rest,
            self._deliver,
            self._fall_silent,
            self._say_goodbye,
        ):
            log.info("stopping", step=step.__name__.strip("_"))
            await step()

    async def _take_nothing_new(self) -> None:
        self.stop_claiming()

    async def _let_scans_finish(self) -> None:
        if self.is_accepted():
            await pause(self.roster.emptied, self.grace_seconds)

    async def _stop_the_rest(self) -> None:
        self.roster.halt_all(Stop.SHUTDOWN if self.is_accepted() else Stop.REVOKED)

    async def _deliver(self) -> None:
        if not await pause(self.roster.emptied, SETTLE_SECONDS):
            log.warning("attempts_left_for_the_next_start", count=len(self.roster.attempts))

    async def _fall_silent(self) -> None:
        # Goodbye says that nothing of this runner touches a target any more, and a beat after it would take it back.
        self.kill_scans()
        self.stop_heartbeats()

    async def _say_goodbye(self) -> None:
        if not self.is_accepted():
            return
        try:
            async with asyncio.timeout(GOODBYE_SECONDS):
                await self.plane.goodbye(Goodbye(boot_id=self.boot_id, reason="the runner was stopped"))
        except (CallFailed, TimeoutError) as error:
            log.warning("goodbye_not_heard", reason=str(error))
