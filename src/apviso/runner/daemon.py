"""The runner as one process: which loops there are, who owns them, and how it ends. What each loop does is in its own file."""

from __future__ import annotations

import asyncio
import signal
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

import httpx2
import structlog
from pydantic import JsonValue

from apviso import __version__
from apviso.protocol.timers import Timers
from apviso.runner.attempts import Attempt, Roster, Stop
from apviso.runner.claims import ClaimLoop
from apviso.runner.clock import Clock
from apviso.runner.config import Config
from apviso.runner.connection import open_client
from apviso.runner.control_plane import ControlPlane
from apviso.runner.directives import Obedience
from apviso.runner.engines import EngineFailed
from apviso.runner.engines.choice import choose_engine
from apviso.runner.facts import capabilities, local_secrets, provider_state, scanner_facts
from apviso.runner.heartbeat import HeartbeatLoop
from apviso.runner.identity import Identity
from apviso.runner.leftovers import Leftover, end_processes, find_leftovers, settle_all
from apviso.runner.pulse import Pulse
from apviso.runner.redaction import Redactor
from apviso.runner.refusals import IdentityRejected
from apviso.runner.retrying import unless
from apviso.runner.rotation import RotationLoop
from apviso.runner.shutdown import Outcome, Shutdown, StopRequest
from apviso.runner.station import Station
from apviso.runner.status_file import DaemonStatus, keep_status, snapshot, write_status
from apviso.runner.target_auth.file import find_target_auth_file
from apviso.runner.watchdog import Watchdog
from apviso.runner.worker import Worker
from apviso.runner.workspace import Workspace
from apviso.scanning.environment import default_dir

log = structlog.get_logger("apviso.runner")

READY_SECONDS = 10.0


@dataclass
class Daemon:
    """One run of the daemon. `environ` is read for providers; `end_process` is what the watchdog calls in the end."""

    config: Config
    workspace: Workspace
    identity: Identity
    api_url: str
    environ: Mapping[str, str]
    redactor: Redactor
    end_process: Callable[[], None]
    clock: Clock = field(default_factory=Clock)
    timers: Timers = field(default_factory=Timers)
    stop: StopRequest = field(default_factory=StopRequest)
    boot_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    pulse: Pulse = field(init=False)
    roster: Roster = field(init=False)
    _workers: dict[str, Worker] = field(default_factory=dict, init=False)
    _claiming: asyncio.Task[None] | None = field(default=None, init=False)
    _beating: asyncio.Task[None] | None = field(default=None, init=False)
    _started_at: datetime = field(init=False)

    def __post_init__(self) -> None:
        self._started_at = self.clock.now()
        self.pulse = Pulse(self.clock)
        self.pulse.runner_id = self.identity.runner_id
        self.roster = Roster(self.config.concurrency)
        self.redactor.learn(self.identity.token.reveal(), self.identity.token.secret, *local_secrets(self.environ))

    async def run_with_signals(self) -> Outcome:
        """`run`, with SIGTERM and SIGINT as requests to stop; the second one aborts."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop.signal)
        try:
            return await self.run()
        finally:
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)

    async def run(self) -> Outcome:
        """Until it is told to stop, is revoked or rejected. Everything that was started has ended when this returns."""
        leftovers = find_leftovers(self.workspace)
        await end_processes(leftovers)
        async with open_client(self.config.custom_ca_path) as client:
            station = self._station(client)
            await self._end_leftovers(station)
            async with asyncio.TaskGroup() as owner:
                work = owner.create_task(self._work(station, leftovers))
                await self._until_stopped(station)
                work.cancel()
        outcome = self.stop.outcome or Outcome.STOPPED
        write_status(self.workspace.status_file, self._snapshot(outcome))
        log.info("stopped", outcome=outcome)
        return outcome

    def _station(self, client: httpx2.AsyncClient) -> Station:
        plane = ControlPlane(self.api_url, client, self.redactor, self.identity.token, self.clock, self.pulse.on_answer)
        engine = choose_engine(self.config, self.workspace.installation(), self.environ)
        scanners = self.config.scanners_dir or default_dir()
        return Station(
            self.config, self.workspace, plane, engine, scanners, self.redactor, self.clock, self.timers, self._on_rejected, self.environ
        )

    async def _end_leftovers(self, station: Station) -> None:
        try:
            for name in await station.engine.end_leftovers():
                log.warning("leftover_scan_ended", name=name)
        except EngineFailed as error:
            # Without its guard and its runner it reaches nothing; the engine is swept before the first scan starts.
            log.warning("leftovers_not_looked_for", reason=str(error))

    async def _work(self, station: Station, leftovers: list[Leftover]) -> None:
        """All loops under one owner, until cancelled."""
        log.info("started", version=__version__, api_url=self.api_url, concurrency=self.config.concurrency, boot_id=self.boot_id)
        obedience = Obedience(self.roster, self.pulse)
        async with asyncio.TaskGroup() as tasks:
            settle_all(leftovers, station, self.roster, tasks)

            def begin(attempt: Attempt) -> None:
                tasks.create_task(self._attend(attempt, station))

            heartbeats = HeartbeatLoop(station, obedience, self.boot_id, lambda: self._facts(station))
            self._beating = tasks.create_task(self._unless_rejected(heartbeats.run()))
            self._claiming = tasks.create_task(self._unless_rejected(ClaimLoop(station, obedience, begin).run()))
            tasks.create_task(self._unless_rejected(RotationLoop(station, obedience, self.identity).run()))
            tasks.create_task(Watchdog(self.pulse, self._is_control_plane_ready, self._end_stalled).run())
            tasks.create_task(keep_status(self.workspace.status_file, lambda: self._snapshot(None)))

    async def _attend(self, attempt: Attempt, station: Station) -> None:
        worker = Worker(attempt, station)
        self._workers[attempt.key] = worker
        try:
            await worker.run()
        except Exception:
            # One attempt's surprise must not end the others: the spool stays, and the next start settles it.
            worker.kill()
            log.exception("attempt_abandoned", job=attempt.key)
        finally:
            del self._workers[attempt.key]
            self.roster.remove(attempt)

    async def _until_stopped(self, station: Station) -> None:
        await self.stop.requested.wait()
        shutdown = Shutdown(
            self.roster,
            station.plane,
            self.boot_id,
            self.config.shutdown_grace_seconds,
            stop_claiming=lambda: _cancel(self._claiming),
            stop_heartbeats=lambda: _cancel(self._beating),
            kill_scans=self._kill_scans,
            is_accepted=lambda: self.stop.outcome is Outcome.STOPPED,
        )
        await unless(self.stop.aborted, shutdown.in_order())
        if self.stop.aborted.is_set():
            self.stop.outcome = Outcome.ABORTED
            self._kill_scans()

    async def _unless_rejected(self, work: Awaitable[None]) -> None:
        try:
            await work
        except IdentityRejected as error:
            self._on_rejected(error)

    def _on_rejected(self, error: IdentityRejected) -> None:
        if error.is_retired:
            log.info("retired", reason=str(error))
            # Its one scan has ended, and its token opens nothing any more.
            self.workspace.identity_file.unlink(missing_ok=True)
            self.stop.ask(Outcome.RETIRED)
        else:
            log.error("revoked" if error.is_revoked else "rejected", reason=str(error))
            self.stop.ask(Outcome.REVOKED if error.is_revoked else Outcome.REJECTED)
        self.roster.halt_all(Stop.REVOKED)

    def _kill_scans(self) -> None:
        for worker in list(self._workers.values()):
            worker.kill()

    def _end_stalled(self, reason: str) -> None:
        # A stalled process cannot be trusted to unwind; the guards end by themselves when their owner is gone.
        self._kill_scans()
        self.end_process()

    async def _is_control_plane_ready(self) -> bool:
        """Asked by a connection of its own, because the usual ones are under suspicion."""
        try:
            async with (
                asyncio.timeout(READY_SECONDS),
                open_client(self.config.custom_ca_path) as client,
                client.stream("GET", f"{self.api_url}/readyz") as answer,
            ):
                return answer.status_code == httpx2.codes.OK
        except (httpx2.HTTPError, OSError, TimeoutError):
            return False

    def _facts(self, station: Station) -> tuple[dict[str, JsonValue], dict[str, JsonValue]]:
        return provider_state(self.environ), capabilities(
            self.environ,
            has_target_auth=find_target_auth_file(self.config) is not None,
            engine=station.engine.describe(),
            scanners=scanner_facts(station.scanners()),
        )

    def _snapshot(self, ended: str | None) -> DaemonStatus:
        return snapshot(self.pulse, self.roster, api_url=self.api_url, name=self.identity.name, started_at=self._started_at, ended=ended)


def _cancel(task: asyncio.Task[None] | None) -> None:
    if task is not None:
        task.cancel()
