"""What the loops last achieved, for the heartbeat, the status file and the watchdog. Boot-time seconds; holds no decision."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from apviso.protocol.states import AdminState, RunnerStatus
from apviso.runner.clock import Clock

LoopName = Literal["heartbeat", "claims"]


@dataclass
class Pulse:
    """`loops` holds when each loop last finished a try, good or bad; `answered` when the control plane last decided anything."""

    clock: Clock
    answered: float = field(init=False)
    loops: dict[str, float] = field(init=False)
    claim_polled: float | None = None
    heartbeat_at: datetime | None = None
    status: RunnerStatus | None = None
    runner_id: str | None = None
    clock_skew_ms: int | None = None
    admin_state: AdminState = AdminState.ENABLED
    drain_deadline: datetime | None = None
    not_accepting: str | None = None
    minimum_version: str | None = None
    minimum_version_from: datetime | None = None
    last_problem: str | None = None

    def __post_init__(self) -> None:
        self.begin_anew()

    def begin_anew(self) -> None:
        """Count silence from now."""
        now = self.clock.boot()
        self.answered = now
        self.loops = {"heartbeat": now, "claims": now}

    def on_answer(self) -> None:
        self.answered = self.clock.boot()

    def finished_try(self, loop: LoopName, problem: str | None = None) -> None:
        self.loops[loop] = self.clock.boot()
        self.last_problem = problem

    def claim_poll_age_ms(self) -> int | None:
        """Milliseconds since the last answered claim poll, None before the first."""
        return None if self.claim_polled is None else max(0, int((self.clock.boot() - self.claim_polled) * 1000))
