"""Keeps an attempt's lease, and ends the scan in time when it cannot: two attempts must never touch a target together."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import structlog

from apviso.protocol.daemon import ClaimedJob
from apviso.protocol.timers import Timers
from apviso.runner.attempts import Attempt, Stop
from apviso.runner.backoff import Backoff, Patience
from apviso.runner.clock import Clock
from apviso.runner.control_plane import CALL_SECONDS, ControlPlane
from apviso.runner.refusals import IdentityRejected, LeaseLost, NoAnswer, Refused
from apviso.runner.retrying import pause

log = structlog.get_logger("apviso.runner.lease")

# Sleeping in short steps: a machine that was suspended notices at once that its time has run out.
STEP_SECONDS = 1.0
# A renewal that was lost is worth trying again long before the next one is due.
RENEWAL_BACKOFF = Backoff(first=1.0, most=10.0)
# A control plane that asks for renewals without a pause must not get them so.
SHORTEST_RENEWAL_SECONDS = 0.2
# A proxy's Retry-After may outlast the lease; only a short one is obeyed, with room for the jitter that is added to it.
MAX_RETRY_AFTER_SECONDS = RENEWAL_BACKOFF.most - RENEWAL_BACKOFF.first


@dataclass(frozen=True)
class LeaseTerms:
    """Seconds. `self_stop_after` counts from the sending of the last accepted renewal."""

    renew_after: float
    self_stop_after: float

    @classmethod
    def of(cls, job: ClaimedJob, timers: Timers = Timers()) -> LeaseTerms:
        # The contract's self-stop is twice its lease; with a shorter lease the server gives up sooner, and so must we.
        self_stop_after = min(timers.self_stop_after.total_seconds(), 2.0 * job.lease_seconds)
        return cls(max(job.renew_after_seconds, SHORTEST_RENEWAL_SECONDS), self_stop_after)

    def remaining(self, lease_sent: float, now: float) -> float:
        """Seconds left until the scan has to be stopped; 0 or less: now."""
        return lease_sent + self.self_stop_after - now


@dataclass(frozen=True)
class LeaseKeeper:
    """The two watches over one attempt. `on_renewed` is given the seconds for which traffic may flow from now on.

    `secured` is set by the first renewal that was accepted: from then on the attempt may be worked on.
    """

    attempt: Attempt
    plane: ControlPlane
    clock: Clock
    terms: LeaseTerms
    on_renewed: Callable[[float], Awaitable[None]]
    on_rejected: Callable[[IdentityRejected], None]
    secured: asyncio.Event = field(default_factory=asyncio.Event)

    async def keep(self) -> None:
        """Renew until cancelled, or until the lease is lost. Renews at once: nothing may start under a lease that is gone."""
        patience = Patience(RENEWAL_BACKOFF)
        while not self.attempt.is_silenced:
            seconds = await self.renew_once(patience)
            await asyncio.sleep(seconds)

    async def renew_once(self, patience: Patience) -> float:
        """One renewal; answers the seconds until the next one."""
        sent = self.clock.boot()
        try:
            answer = await self.plane.renew(self.attempt.job_id, self.attempt.number, CALL_SECONDS)
        except NoAnswer as error:
            log.warning("lease_not_renewed", job=self.attempt.key, reason=str(error), seconds_left=self._remaining())
            asked = error.retry_after
            return patience.next_delay(None if asked is None else min(asked, MAX_RETRY_AFTER_SECONDS))
        except LeaseLost as error:
            log.warning("lease_lost", job=self.attempt.key, reason=str(error))
            self.attempt.halt(Stop.LEASE_LOST)
            return 0.0
        except IdentityRejected as error:
            self.on_rejected(error)
            return self.terms.renew_after
        except Refused as error:
            # The job is not known any more or has ended: there is nothing left to hold.
            log.warning("lease_refused", job=self.attempt.key, reason=str(error))
            self.attempt.halt(Stop.LEASE_LOST)
            return 0.0
        patience.reset()
        self.attempt.lease_sent = sent
        self.secured.set()
        if answer.cancel_requested_at is not None:
            self.attempt.halt(Stop.CANCELLED)
        await self.on_renewed(self._remaining())
        return self.terms.renew_after

    async def watch(self) -> None:
        """Stop the scan when no renewal was accepted for too long, whatever the renewing call is doing.

        A claim may be answered long after it was sent, when the control plane was away meanwhile. Nothing is done for it before its
        first renewal was accepted, so until then the patience counts from now.
        """
        begun = self.clock.boot()
        while (remaining := self._remaining() if self.secured.is_set() else self.terms.remaining(begun, self.clock.boot())) > 0:
            if await pause(self.attempt.stopping, min(STEP_SECONDS, remaining)):
                return
        if self.attempt.halt(Stop.LEASE_EXPIRED):
            log.error("scan_stopped_without_lease", job=self.attempt.key, seconds=self.terms.self_stop_after)

    def _remaining(self) -> float:
        return self.terms.remaining(self.attempt.lease_sent, self.clock.boot())
