"""One scan between its guard and its engine, from the first permitted request to the verdict. Knows nothing of the control plane."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import structlog
from pydantic import JsonValue

from apviso.protocol.limits import Limits
from apviso.protocol.scan_events import Happening, Stats
from apviso.protocol.states import EndReason
from apviso.runner.attempts import Attempt, Stop
from apviso.runner.endings import Ending, ending_of_stop, ending_of_verdict, failed, out_of_room, with_remarks
from apviso.runner.engines import EngineFailed, Prepared, RunningScan, ScanExit, ScanLabels
from apviso.runner.job_log import JobLog
from apviso.runner.login_checks import lost_logins
from apviso.runner.output import ScanOutput
from apviso.runner.reachability import probe
from apviso.runner.records import AttemptFiles, ProcessMark
from apviso.runner.retrying import unless
from apviso.runner.scope import MethodsDecision
from apviso.runner.spool import Spool, SpoolFull
from apviso.runner.station import Station
from apviso.runner.target_auth.identities import TargetIdentity, Whereabouts
from apviso.scanning.guard import Guard, GuardCounters, GuardFailed, rules_for, start_guard
from apviso.scanning.order import ScanOrder
from apviso.scanning.verdict import judge

log = structlog.get_logger("apviso.runner.execution")

# The scan knows its own limit; beyond it, it gets this long for its report.
REPORT_SECONDS = 30.0
# Between SIGTERM and SIGKILL; with the final look at the group this stays well within the contract's 30 s.
STOP_GRACE_SECONDS = 5.0
STATS_SECONDS = 2.0


@dataclass
class Execution:
    """State of one running scan. `extend_permit` is what a renewed lease calls; `methods` are those within this runner's scope."""

    attempt: Attempt
    methods: MethodsDecision
    station: Station
    prepared: Prepared
    files: AttemptFiles
    spool: Spool
    job_log: JobLog
    identities: Sequence[TargetIdentity] = ()
    addresses: Sequence[str] = ()
    provider_credentials: Mapping[str, str] = field(default_factory=dict, repr=False)
    api_document: str | None = None
    _guard: Guard | None = field(default=None, init=False)
    _scan: RunningScan | None = field(default=None, init=False)
    _exit: ScanExit | None = field(default=None, init=False)
    _told: GuardCounters = field(default_factory=GuardCounters, init=False)
    _started: float = field(default_factory=time.monotonic, init=False)

    @property
    def limits(self) -> Limits:
        """The job's, as far as this runner's scope permits them."""
        return self.attempt.job.limits.model_copy(update={"methods": list(self.methods.methods)})

    def keep(self, happening: Happening) -> None:
        """Number, spool and log an event. Runs inside a callback of the event loop, so it must not raise."""
        try:
            event = self.spool.append(happening, self.station.clock.now())
        except SpoolFull as error:
            log.warning("spool_full", job=self.attempt.key, reason=str(error))
            self.attempt.halt(Stop.SPOOL_FULL)
            return
        if event is not None:
            self.job_log.append(event)

    async def extend_permit(self, seconds: float) -> None:
        """Let traffic flow for so long; a guard that is gone ends the scan."""
        if self._guard is None:
            return
        try:
            await self._guard.permit(seconds)
        except GuardFailed:
            self.attempt.halt(Stop.GUARD_DIED)

    def kill(self) -> None:
        """End the scan at once, without waiting."""
        if self._scan is not None:
            self._scan.kill()

    def metadata(self) -> dict[str, JsonValue]:
        """Facts about this run for the control plane; names and numbers only."""
        return {
            "engine": self.station.engine.name,
            "exitCode": self._exit.code if self._exit else None,
            "durationSeconds": round(time.monotonic() - self._started, 1),
            "requests": self._told.requests,
            "refused": self._told.refused,
            "connectErrors": self._told.connect_errors,
            "answers": dict(self._told.answers),
        }

    async def run(self, permit_seconds: float) -> Ending | None:
        """How the scan ended; None where nothing may be told any more."""
        job = self.attempt.job
        headers = {identity.name: identity.headers for identity in self.identities}
        rules = rules_for(job.scan.id, job.target, self.limits, headers, self.files.work / "requests.ndjson", self.addresses)
        try:
            self._guard = await start_guard(rules, self.station.scanners_dir, self.files.work, permit_seconds)
        except GuardFailed as error:
            return failed(EndReason.ENGINE_UNAVAILABLE, str(error))
        output = ScanOutput(self.station.redactor, self.keep, self._enter_phase)
        try:
            self.files.note_process(ProcessMark.of(self._guard.pid, "guard"))
            self._exit = await self._run_scan(self._guard, output)
        except EngineFailed as error:
            # Whoever stopped the scan knows better why it ended than an engine that lost it.
            return ending_of_stop(self.attempt.stop) if self.attempt.stop else failed(error.reason, str(error))
        except OSError as error:
            reason = EndReason.DISK_FULL if error.errno == errno.ENOSPC else EndReason.INTERNAL_ERROR
            return failed(reason, f"The runner could not keep its record of the scan: {error.strerror or error}")
        finally:
            self.kill()
            # From here on a renewed lease has no permit to extend; a guard that is being closed has not died.
            guard, self._guard = self._guard, None
            self._told = await guard.close()
        output.end()
        self._tell_stats(self._told)
        return await self._judge(output, self._exit)

    def _enter_phase(self, name: str) -> None:
        self.attempt.phase = name

    async def _run_scan(self, guard: Guard, output: ScanOutput) -> ScanExit:
        labels = ScanLabels(self.attempt.job.job.runner_id, self.attempt.job_id, self.attempt.number)
        self._scan = await self.station.engine.start(self.prepared, self._order(guard), labels, self.files.work, output.take)
        self.files.note_process(self._scan.mark)
        stats = asyncio.create_task(self._tell_stats_regularly(guard))
        try:
            return await self._wait_or_stop(self._scan, guard)
        finally:
            stats.cancel()
            await asyncio.gather(stats, return_exceptions=True)

    async def _wait_or_stop(self, scan: RunningScan, guard: Guard) -> ScanExit:
        """The scan's own end, or the one that we make: traffic first, then the processes."""
        try:
            async with asyncio.timeout(self.limits.max_run_seconds + REPORT_SECONDS):
                ended = await unless(self.attempt.stopping, scan.wait())
        except TimeoutError:
            self.attempt.halt(Stop.TIMED_OUT)
            ended = None
        if ended is not None:
            return ended
        with contextlib.suppress(GuardFailed):
            await guard.permit(0)
        await scan.stop(STOP_GRACE_SECONDS)
        return await scan.wait()

    def _order(self, guard: Guard) -> ScanOrder:
        job = self.attempt.job
        return ScanOrder(
            scan_id=job.scan.id,
            attempt=self.attempt.number,
            model_preset=job.scan.model_preset,
            is_retest=job.scan.is_retest,
            retest_findings=job.scan.retest_findings,
            target=job.target,
            limits=self.limits,
            identities=[identity.name for identity in self.identities],
            provider_credentials=dict(self.provider_credentials),
            proxy_url=guard.proxy_url,
            api_document=self.api_document,
            work_dir=str(self.files.work),
            scanners_dir=str(self.station.scanners_dir),
        )

    async def _tell_stats_regularly(self, guard: Guard) -> None:
        while True:
            await asyncio.sleep(STATS_SECONDS)
            if not guard.alive:
                self.attempt.halt(Stop.GUARD_DIED)
                return
            self._tell_stats(guard.counters)

    def _tell_stats(self, counters: GuardCounters) -> None:
        if counters != self._told or self._exit is not None:
            self._told = counters
            facts: dict[str, JsonValue] = dict(counters.refusals)
            self.keep(Stats(requests=counters.requests, refused=counters.refused, bytes=counters.bytes, refusals=facts))

    async def _judge(self, output: ScanOutput, exit_: ScanExit) -> Ending | None:
        if exit_.flooded:
            self.attempt.halt(Stop.FLOODED)
        with contextlib.suppress(SpoolFull):
            self.spool.note_dropped(self.station.clock.now())
        stop = self.attempt.stop
        if stop is not None and stop is not Stop.TIMED_OUT:
            return ending_of_stop(stop)
        code = None if stop is Stop.TIMED_OUT else exit_.code
        is_retest = bool(self.attempt.job.scan.retest_findings)
        verdict = judge(code, output.said, self._told, self.limits, is_retest=is_retest)
        gaps = await unless(self.attempt.stopping, self._look_afterwards())
        ending = with_remarks(ending_of_verdict(verdict, exit_, gaps or ()), output.losses)
        ending = with_remarks(ending, self.methods.remarks, is_gap=self.methods.is_gap)
        ending = replace(ending, looks=tuple(output.looks.values()))
        return out_of_room(ending) if output.ran_out_of_room else ending

    async def _look_afterwards(self) -> list[str]:
        """What the target no longer is, as gaps of the coverage: there, and open to these identities."""
        job = self.attempt.job
        headers = self.identities[0].headers if self.identities else {}
        after = await probe(job.target.scan_url, headers, self.addresses, self.methods.methods)
        if after.problem is not None:
            return [f"target_lost: After the scan the target could not be reached any more: {after.problem}"]
        return await lost_logins(self.identities, Whereabouts(job.target.scan_url, self.addresses, job.limits.exclude_paths))
