"""Carries one claimed attempt from preflight to finish, under its lease. Whatever happens in it, the attempt gets one end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import TypeVar

import structlog
from pydantic import JsonValue

from apviso.protocol.daemon import Job, JobState, Start
from apviso.protocol.states import EndReason
from apviso.runner.attempts import Attempt, Stop
from apviso.runner.backoff import Backoff, Patience
from apviso.runner.delivery import deliver
from apviso.runner.endings import Ending, ending_of_stop, failed
from apviso.runner.engines import EngineFailed, Prepared
from apviso.runner.execution import Execution
from apviso.runner.job_log import JobLog
from apviso.runner.lease import LeaseKeeper, LeaseTerms
from apviso.runner.preflight import GIVEN_BACK, examine
from apviso.runner.records import AttemptFiles
from apviso.runner.refusals import IdentityRejected, LeaseLost, Refused
from apviso.runner.retrying import unless, until_answered
from apviso.runner.spool import Spool
from apviso.runner.station import Station
from apviso.runner.uploader import Uploader

log = structlog.get_logger("apviso.runner.worker")

CALL_BACKOFF = Backoff(first=1.0, most=10.0)
Answer = TypeVar("Answer")


class _Halted(Exception):
    """The attempt was told to stop while it waited for an answer."""


class Worker:
    """One attempt. `run` returns when it has its end; after a cancellation the spool stays for the next process."""

    def __init__(self, attempt: Attempt, station: Station) -> None:
        self._attempt = attempt
        self._station = station
        self._plane = station.plane
        self._files = AttemptFiles.of(station.workspace, attempt.key)
        self._terms = LeaseTerms.of(attempt.job.job, station.timers)
        self._execution: Execution | None = None
        self._secured = asyncio.Event()

    async def run(self) -> None:
        job: Job = self._attempt.job
        log.info("attempt_claimed", job=self._attempt.key, scan=job.scan.id, target=job.target.domain)
        self._station.redactor.learn(job.job_token, job.job_token.rpartition("_")[2])
        self._files.create(job, self._attempt.claimed_at)
        spool = Spool(self._files.spool)
        try:
            await self._run_under_lease(spool)
        finally:
            spool.close()
        self._files.remove()
        log.info("attempt_ended", job=self._attempt.key)

    async def _run_under_lease(self, spool: Spool) -> None:
        attempt = self._attempt
        keeper = LeaseKeeper(attempt, self._plane, self._station.clock, self._terms, self._on_renewed, self._on_rejected, self._secured)
        uploader = Uploader(
            attempt.job_id,
            attempt.number,
            spool,
            self._plane,
            on_cancel=lambda: self._halt(Stop.CANCELLED),
            on_lost=lambda: self._halt(Stop.LEASE_LOST),
            on_rejected=self._on_rejected,
        )
        async with asyncio.TaskGroup() as tasks:
            helpers = [tasks.create_task(work) for work in (keeper.keep(), keeper.watch(), uploader.run())]
            try:
                await self._to_its_end(spool, uploader)
            finally:
                for helper in helpers:
                    helper.cancel()

    async def _to_its_end(self, spool: Spool, uploader: Uploader) -> None:
        ending = await self._carry_out(spool)
        self._attempt.phase = "finishing"
        if ending is None or self._attempt.is_silenced:
            return
        log.info("scan_ended", job=self._attempt.key, status=ending.status, reason=ending.end_reason, message=ending.message)
        metadata = self._execution.metadata() if self._execution else {}
        try:
            await deliver(
                ending.as_finish(self._attempt.number, spool.last_seq, metadata), self._attempt.job_id, self._files, uploader, self._plane
            )
        except IdentityRejected as error:
            self._on_rejected(error)

    async def _carry_out(self, spool: Spool) -> Ending | None:
        """The ending to tell; None where the control plane knows it already or must not be told."""
        try:
            return await self._examine_and_scan(spool)
        except _Halted:
            return ending_of_stop(self._attempt.stop) if self._attempt.stop else None
        except IdentityRejected as error:
            self._on_rejected(error)
            return None
        except LeaseLost:
            self._halt(Stop.LEASE_LOST)
            return None
        except Refused as error:
            return failed(EndReason.INTERNAL_ERROR, f"The control plane refused a step of the attempt: {error}")
        except Exception as error:
            # One attempt's surprise must not end the others; it is told as what it is.
            log.exception("attempt_broke", job=self._attempt.key)
            return failed(EndReason.INTERNAL_ERROR, f"The runner failed at this attempt: {type(error).__name__}: {error}")

    async def _examine_and_scan(self, spool: Spool) -> Ending | None:
        attempt = self._attempt
        await self._unless_halted(self._secured.wait())
        attempt.phase = "preparing"
        try:
            prepared = await self._unless_halted(self._station.engine.prepare(attempt.job.image))
        except EngineFailed as error:
            return failed(error.reason, str(error))
        attempt.phase = "preflight"
        found = await self._unless_halted(examine(self._station, prepared, attempt.job.target, attempt.job.limits))
        if found.reason in GIVEN_BACK:
            return failed(found.reason, found.message)
        self._heed(await self._ask(lambda: self._plane.preflight(attempt.job_id, found.as_call(attempt.number))))
        if not found.ok:
            log.warning("preflight_failed", job=attempt.key, reason=found.reason, message=found.message)
            return None
        attempt.phase = "starting"
        start = Start(attempt=attempt.number, runtime_metadata=self._started_with(prepared))
        self._heed(await self._ask(lambda: self._plane.start(attempt.job_id, start)))
        self._execution = Execution(
            attempt,
            found.methods,
            self._station,
            prepared,
            self._files,
            spool,
            JobLog(self._station.workspace.job_logs, attempt.key),
            found.identities,
            found.addresses,
            found.provider_credentials,
            found.api_document,
        )
        attempt.phase = "running"
        return await self._execution.run(self._terms.remaining(attempt.lease_sent, self._station.clock.boot()))

    def _started_with(self, prepared: Prepared) -> dict[str, JsonValue]:
        engine = self._station.engine
        return {"engine": engine.name, "isolation": engine.describe().get("isolation", "unknown"), "imageDigest": prepared.digest}

    async def _ask(self, call: Callable[[], Awaitable[Answer]]) -> Answer:
        return await self._unless_halted(until_answered(call, Patience(CALL_BACKOFF)))

    async def _unless_halted(self, work: Coroutine[object, object, Answer]) -> Answer:
        answer = await unless(self._attempt.stopping, work)
        if answer is None or self._attempt.stop is not None:
            raise _Halted
        return answer

    def _heed(self, state: JobState) -> None:
        if state.cancel_requested_at is not None:
            self._halt(Stop.CANCELLED)
            raise _Halted

    async def _on_renewed(self, seconds: float) -> None:
        if self._execution is not None:
            await self._execution.extend_permit(seconds)

    def _on_rejected(self, error: IdentityRejected) -> None:
        self._halt(Stop.REVOKED)
        self._station.on_rejected(error)

    def _halt(self, why: Stop) -> None:
        self._attempt.halt(why)

    def kill(self) -> None:
        """End the scan at once, without waiting: the runner itself is about to end."""
        if self._execution is not None:
            self._execution.kill()
