"""Carries the events of one attempt from its spool to the control plane; forgets only what was acknowledged."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog

from apviso.protocol.daemon import EventBatch
from apviso.protocol.scan_events import ScanEvent
from apviso.protocol.wire import JobId
from apviso.runner.backoff import Backoff, Patience
from apviso.runner.control_plane import ControlPlane
from apviso.runner.refusals import IdentityRejected, LeaseLost, NoAnswer, Refused, SequenceGap
from apviso.runner.retrying import pause
from apviso.runner.spool import Spool

log = structlog.get_logger("apviso.runner.uploader")

MOST_EVENTS = 500
MOST_BYTES = 1024**2
# The control plane looks each finding up in one transaction; leases of others must not wait long for their turn.
MOST_FINDINGS = 50
# Long enough to gather a batch, short enough for somebody who watches.
LINGER_SECONDS = 0.3
# A scan is waiting: an hour of outage must not be followed by a minute of silence.
UPLOAD_BACKOFF = Backoff(first=1.0, most=30.0)


class UploadImpossible(Exception):
    """The control plane asks for events that are gone, or has some that were never made: the attempt's log cannot be completed."""


class Silenced(Exception):
    """Nothing more may be sent for this attempt: its lease or the runner's identity is gone."""


@dataclass
class Uploader:
    """`on_cancel` is called when an answer says that the scan is to be cancelled, `on_lost` when the lease is gone."""

    job_id: JobId
    attempt: int
    spool: Spool
    plane: ControlPlane
    on_cancel: Callable[[], None] = lambda: None
    on_lost: Callable[[], None] = lambda: None
    on_rejected: Callable[[IdentityRejected], None] = lambda error: None
    acked: int = field(init=False)
    progressed: asyncio.Event = field(default_factory=asyncio.Event, init=False)
    failure: UploadImpossible | Silenced | None = field(default=None, init=False)
    _batch_size: int = field(default=MOST_EVENTS, init=False)
    _patience: Patience = field(default_factory=lambda: Patience(UPLOAD_BACKOFF), init=False)

    def __post_init__(self) -> None:
        self.acked = self.spool.first_kept - 1

    @property
    def is_done(self) -> bool:
        return self.acked >= self.spool.last_seq

    async def run(self) -> None:
        """Send whatever is appended, until cancelled or until nothing may be sent any more."""
        while self.failure is None:
            if self.is_done:
                self.spool.appended.clear()
                await self.spool.appended.wait()
                await asyncio.sleep(LINGER_SECONDS)
            await self._send_once()

    async def settle(self) -> None:
        """Wait until everything is acknowledged; raises UploadImpossible or Silenced. `run` has to run meanwhile."""
        while not self.is_done and self.failure is None:
            self.progressed.clear()
            await pause(self.progressed, 1.0)
        if self.failure is not None:
            raise self.failure

    def start_over(self) -> None:
        """Send again from the oldest event that is kept; the control plane ignores what it has."""
        self.acked = self.spool.first_kept - 1
        self.spool.appended.set()

    async def _send_once(self) -> None:
        await self.spool.sync()
        events = with_few_findings(self.spool.read(self.acked, self._batch_size, MOST_BYTES))
        if not events:
            return
        try:
            answer = await self.plane.send_events(self.job_id, EventBatch(attempt=self.attempt, events=events))
        except NoAnswer as error:
            await asyncio.sleep(self._patience.next_delay(error.retry_after))
        except SequenceGap as error:
            self._resume(error.expected_seq)
        except LeaseLost:
            self.on_lost()
            self._fail(Silenced("the lease was lost"))
        except IdentityRejected as error:
            self.on_rejected(error)
            self._fail(Silenced("the runner's identity was rejected"))
        except Refused as error:
            self._work_around(events, error)
        else:
            self._acknowledged(answer.acked_seq)
            if answer.cancel_requested_at is not None:
                self.on_cancel()

    def _acknowledged(self, seq: int) -> None:
        self._patience.reset()
        self._batch_size = MOST_EVENTS
        self._resume(seq + 1)
        self.spool.drop_through(min(self.acked, self.spool.last_seq))

    def _resume(self, expected: int) -> None:
        if expected < self.spool.first_kept or expected > self.spool.last_seq + 1:
            sentence = f"event {expected} is asked for, but {self.spool.first_kept} to {self.spool.last_seq} are kept"
            self._fail(UploadImpossible(sentence))
            return
        self.acked = expected - 1
        self.progressed.set()

    def _work_around(self, events: list[ScanEvent], error: Refused) -> None:
        """Find the event that is not accepted by halving the batch, and put a log line in its place."""
        log.warning("events_refused", job=self.job_id, first=events[0].seq, count=len(events), reason=str(error))
        if error.status not in {400, 413, 422}:
            self._fail(UploadImpossible(f"events were refused: {error.code}"))
        elif len(events) > 1:
            self._batch_size = len(events) // 2
        else:
            self.spool.replace(events[0], f"A {events[0].type} event is missing here: the control plane refused it as {error.code}")

    def _fail(self, failure: UploadImpossible | Silenced) -> None:
        self.failure = failure
        self.progressed.set()


def with_few_findings(events: list[ScanEvent]) -> list[ScanEvent]:
    """The beginning of the events, up to the last finding that one batch may carry."""
    findings = [place for place, event in enumerate(events) if event.type == "finding"]
    return events if len(findings) <= MOST_FINDINGS else events[: findings[MOST_FINDINGS]]
