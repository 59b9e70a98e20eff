"""Reports in at the server's pace and hears what the server wants. A beat that is lost is followed by the next, never by a storm."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import structlog
from pydantic import JsonValue

from apviso import __version__
from apviso.protocol.daemon import Heartbeat, HeartbeatAnswer
from apviso.protocol.states import Fault
from apviso.protocol.timers import Timers
from apviso.runner.backoff import Backoff, Patience
from apviso.runner.directives import Obedience
from apviso.runner.facts import machine_name, system_name
from apviso.runner.refusals import IdentityRejected, NoAnswer, Refused
from apviso.runner.room import disk_space, strain
from apviso.runner.station import Station

log = structlog.get_logger("apviso.runner.heartbeat")

JITTER = 0.1
# A server that answers nonsense must neither be flooded nor abandoned.
SHORTEST_SECONDS, LONGEST_SECONDS = 0.2, 300.0


@dataclass
class HeartbeatLoop:
    """`boot_id` is new for each process: two of them under one identity give a cloned host away."""

    station: Station
    obedience: Obedience
    boot_id: str
    environ_facts: Callable[[], tuple[Mapping[str, JsonValue], Mapping[str, JsonValue]]]
    draw: Callable[[], float] = random.random
    _beat_seq: int = field(default=0, init=False)
    _interval: float = field(default=Timers().heartbeat_interval.total_seconds(), init=False)
    _patience: Patience = field(default_factory=Patience, init=False)

    async def run(self) -> None:
        """Beat until cancelled; raises IdentityRejected."""
        while True:
            seconds = await self._beat_once()
            await asyncio.sleep(seconds)

    async def _beat_once(self) -> float:
        """One beat; answers the seconds until the next."""
        pulse = self.obedience.pulse
        beat = await self._beat()
        sent_at, sent = self.station.clock.now(), self.station.clock.boot()
        try:
            answer = await self.station.plane.heartbeat(beat)
        except NoAnswer as error:
            pulse.finished_try("heartbeat", str(error))
            delay = min(self._patience.next_delay(error.retry_after), self._interval)
            log.warning("heartbeat_failed", reason=str(error), next_try_seconds=round(delay, 1))
            return max(delay, error.retry_after or 0.0)
        except IdentityRejected:
            raise
        except Refused as error:
            pulse.finished_try("heartbeat", str(error))
            log.warning("heartbeat_refused", reason=str(error))
            return self._interval
        pulse.finished_try("heartbeat")
        self._note(answer, sent_at, self.station.clock.boot() - sent)
        return interval_with_jitter(self._interval, self.draw())

    def _note(self, answer: HeartbeatAnswer, sent_at: datetime, seconds: float) -> None:
        pulse = self.obedience.pulse
        self._patience = Patience(Backoff(most=self._interval))
        self._interval = min(max(answer.heartbeat_interval_ms / 1000, SHORTEST_SECONDS), LONGEST_SECONDS)
        pulse.clock_skew_ms = skew_ms(sent_at, seconds, answer.server_time)
        pulse.heartbeat_at = sent_at
        pulse.status = answer.runner.status
        pulse.runner_id = answer.runner.id
        self.obedience.obey(answer.directives, answer.server_time)

    async def _beat(self) -> Heartbeat:
        self._beat_seq += 1
        jobs = self.obedience.roster.running_jobs()
        # Asked first: what the engine says now is part of the capabilities.
        health = await self._health()
        provider_state, capabilities = self.environ_facts()
        return Heartbeat(
            boot_id=self.boot_id,
            beat_seq=self._beat_seq,
            version=__version__,
            os=system_name(),
            arch=machine_name(),
            container_engine=self.station.engine.name,
            configured_concurrency=self.obedience.roster.concurrency,
            current_jobs=len(jobs),
            running_jobs=jobs,
            provider_state=dict(provider_state),
            capabilities=dict(capabilities),
            health=health,
            last_claim_poll_age_ms=self.obedience.pulse.claim_poll_age_ms(),
        )

    async def _health(self) -> dict[str, JsonValue]:
        free, total = disk_space(self.station.workspace.root)
        ready = await self.station.engine.problem() is None and self.station.scanners().problem is None
        # The control plane has a floor of its own, which knows nothing of what is needed here.
        has_room = free >= self.station.config.min_free_disk_bytes
        held = ((Fault.ENGINE_UNREACHABLE, not ready), (Fault.DISK_LOW, not has_room))
        faults: list[JsonValue] = [fault.value for fault, is_held in held if is_held]
        return {
            "diskFreeBytes": free,
            "diskTotalBytes": total,
            "clockSkewMs": self.obedience.pulse.clock_skew_ms,
            "spoolBacklogBytes": folder_bytes(self.station.workspace.spool),
            **strain(),
            "engineReachable": ready,
            "faults": faults,
        }


def interval_with_jitter(interval: float, draw: float) -> float:
    """`interval` within plus or minus 10 %, so that a fleet that was started as one does not stay one."""
    return interval * (1 - JITTER + 2 * JITTER * draw)


def skew_ms(sent_at: datetime, seconds: float, server_time: datetime) -> int:
    """How far this host's clock is ahead of the server's. The server's answer was made about half way, and shows whole seconds."""
    half_a_second = 500
    middle = sent_at.timestamp() + seconds / 2
    return round((middle - server_time.timestamp()) * 1000) - half_a_second


def folder_bytes(folder: Path) -> int:
    """Bytes of all event files below `folder`; files that vanish meanwhile count nothing."""
    total = 0
    for path in folder.glob("*/*.ndjson"):
        try:
            total += path.stat().st_size
        except OSError:
            continue
    return total
