"""Ends a process that has stopped working while the world around it is fine, so that its supervisor starts a fresh one.

It watches three things, each for five minutes:
- the event loop: a thread sees that the loop's own tick stands still;
- the heartbeat and the claim loop: neither good nor bad tries come to an end any more, though every call has a deadline;
- the answers: tries end, but the control plane has decided nothing, while a fresh connection of its own to `/readyz` is answered
  with 200. That is a broken connection pool, resolver or proxy state inside this process.

A control plane that is down, unreachable or busy is none of these: the runner waits for it as long as it takes. Time in which the
machine was suspended does not count.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import structlog

from apviso.runner.pulse import Pulse

log = structlog.get_logger("apviso.runner.watchdog")

PATIENCE_SECONDS = 300.0
LOOK_SECONDS = 5.0


def find_stall(now: float, pulse: Pulse, patience: float) -> str | None:
    """The loop that no longer turns, in words; None where all do. `now` is the clock of the pulse."""
    for loop, finished in pulse.loops.items():
        if now - finished > patience:
            return f"the {loop} loop has not finished a try for {now - finished:.0f} s"
    return None


def is_unanswered(now: float, pulse: Pulse, patience: float) -> bool:
    return now - pulse.answered > patience


@dataclass
class Watchdog:
    """`control_plane_is_ready` asks by a connection of its own; `end_process` must not return to the caller's work."""

    pulse: Pulse
    control_plane_is_ready: Callable[[], Awaitable[bool]]
    end_process: Callable[[str], None]
    patience: float = PATIENCE_SECONDS
    look_seconds: float = LOOK_SECONDS
    _tick: float = field(default_factory=time.monotonic, init=False)
    _looked: float = field(init=False)
    _ended: threading.Event = field(default_factory=threading.Event, init=False)

    def __post_init__(self) -> None:
        self._looked = self.pulse.clock.boot()

    async def run(self) -> None:
        """Watch until cancelled."""
        thread = threading.Thread(target=self._watch_event_loop, name="watchdog", daemon=True)
        thread.start()
        try:
            while True:
                await self._look()
                await asyncio.sleep(self.look_seconds)
        finally:
            self._ended.set()

    async def _look(self) -> None:
        before, self._tick = self._tick, time.monotonic()
        now = self.pulse.clock.boot()
        slept, self._looked = now - self._looked, now
        if max(slept, self._tick - before) > self.patience / 2:
            # The loop itself stood still, or the machine slept: the others are judged from now on.
            self.pulse.begin_anew()
            return
        stall = find_stall(now, self.pulse, self.patience)
        if stall is None and is_unanswered(now, self.pulse, self.patience) and await self.control_plane_is_ready():
            stall = "the control plane answers a fresh connection, but no call of this process"
        if stall is not None:
            log.critical("stalled", reason=stall)
            self.end_process(stall)

    def _watch_event_loop(self) -> None:
        while not self._ended.wait(self.look_seconds):
            stood_still = time.monotonic() - self._tick
            if stood_still > self.patience:
                self.end_process(f"the event loop has stood still for {stood_still:.0f} s")
                return
