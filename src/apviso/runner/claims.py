"""Asks for work, and while it waits hears of cancellations. One claim, one nonce: a lost answer is asked for again, not replaced."""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog

from apviso.protocol.daemon import Claim, ClaimAnswer, Job
from apviso.protocol.states import Fault
from apviso.runner.attempts import Attempt
from apviso.runner.backoff import Backoff, Patience
from apviso.runner.directives import Obedience
from apviso.runner.refusals import IdentityRejected, NoAnswer, Refused
from apviso.runner.retrying import unless
from apviso.runner.room import has_room
from apviso.runner.station import Station

log = structlog.get_logger("apviso.runner.claims")

# A claim that is answered at once with nothing, or with nothing that can be taken, again and again, must not become a hot loop.
SHORTEST_EMPTY_SECONDS = 1.0
# These become names of folders and parts of addresses.
_SAFE_ID = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True)
class _Asked:
    """A claim and the boot time at which it was first sent: its lease may count from then."""

    claim: Claim
    sent: float


@dataclass
class ClaimLoop:
    """`begin` starts the work on an attempt and returns at once."""

    station: Station
    obedience: Obedience
    begin: Callable[[Attempt], None]
    _has_room: bool = field(default=True, init=False)
    _patience: Patience = field(default_factory=lambda: Patience(Backoff(first=1.0, most=30.0)), init=False)

    async def run(self) -> None:
        """Claim until cancelled; raises IdentityRejected. Polls also without a free slot, to hear of cancellations."""
        asked: _Asked | None = None
        while True:
            asked = asked or self._next_claim()
            answer = await self._poll(asked)
            if not isinstance(answer, NoAnswer):
                asked = None

    def _next_claim(self) -> _Asked:
        roster = self.obedience.roster
        roster.slot_freed.clear()
        # Without room it asks for nothing, and goes on to hear of cancellations.
        self._has_room = has_room(self.station.workspace, self.station.config)
        free_slots = roster.free_slots if self._has_room else 0
        claim = Claim(nonce=secrets.token_hex(16), free_slots=free_slots, known_cancels=roster.known_cancels)
        return _Asked(claim, self.station.clock.boot())

    async def _poll(self, asked: _Asked) -> ClaimAnswer | NoAnswer | None:
        """One poll. NoAnswer: the same claim has to be asked again; None: it is of no use any more."""
        pulse, started = self.obedience.pulse, self.station.clock.boot()
        try:
            answer = await self._ask(asked.claim)
        except NoAnswer as error:
            pulse.finished_try("claims", str(error))
            await asyncio.sleep(self._patience.next_delay(error.retry_after))
            return error
        except IdentityRejected:
            raise
        except Refused as error:
            pulse.finished_try("claims", str(error))
            log.warning("claim_refused", reason=str(error))
            await asyncio.sleep(self._patience.next_delay())
            return None
        pulse.finished_try("claims")
        self._patience.reset()
        if answer is not None:
            pulse.claim_polled = self.station.clock.boot()
            await self._take(answer, asked.sent, self.station.clock.boot() - started)
        return answer

    async def _ask(self, claim: Claim) -> ClaimAnswer | None:
        """The answer; None where a slot became free while nothing was asked for: the next claim can ask for more."""
        call = self.station.plane.claim(claim)
        if claim.free_slots > 0:
            return await call
        return await unless(self.obedience.roster.slot_freed, call)

    async def _take(self, answer: ClaimAnswer, sent: float, seconds: float) -> None:
        pulse = self.obedience.pulse
        refusal = answer.not_accepting if self._has_room else Fault.DISK_LOW
        if refusal != pulse.not_accepting:
            log.info("accepting_jobs" if refusal is None else "not_accepting_jobs", reason=refusal)
        pulse.not_accepting = refusal
        stopped = self.obedience.obey(answer.directives)
        has_begun = answer.job is not None and self._begin(answer.job, sent)
        if not has_begun and seconds < SHORTEST_EMPTY_SECONDS and not stopped:
            await asyncio.sleep(SHORTEST_EMPTY_SECONDS - seconds)

    def _begin(self, job: Job, sent: float) -> bool:
        """Whether there is a new attempt under way."""
        if not (_SAFE_ID.fullmatch(job.job.id) and _SAFE_ID.fullmatch(job.scan.id)):
            log.error("job_ignored", reason="its id is no id")
            return False
        attempt = Attempt(job, sent, self.station.clock.now())
        if self.obedience.roster.free_slots < 1 and not self.obedience.roster.has(attempt):
            # How many scans this host can bear is decided here.
            log.error("job_ignored", job=attempt.key, reason="no slot is free, and none was offered")
            return False
        is_new = self.obedience.roster.add(attempt)
        if is_new:
            self.begin(attempt)
        return is_new
