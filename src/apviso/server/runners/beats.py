"""Decides whether a heartbeat only repeats how a runner stands: then no row but its own has to change, and that can wait. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from apviso.protocol.daemon import Directives, Heartbeat, HeartbeatAnswer
from apviso.protocol.states import RunnerStatus
from apviso.server.runners.facts import RunnerFacts
from apviso.server.runners.presence import PresencePolicy, admin_state_at, presence_of


@dataclass(frozen=True)
class Remembered:
    """A runner as its last heartbeat left it: the digest of its token, how it was noted to stand, what it is told, the answer without
    interval and time, and the nonces of its latest claims."""

    facts: RunnerFacts
    digest: str = field(repr=False)
    noted: tuple[RunnerStatus, tuple[str, ...]]
    directives: Directives
    answer_parts: tuple[bytes, bytes]
    nonces: frozenset[str] = field(repr=False)

    def moved_to(self, facts: RunnerFacts) -> Remembered:
        return Remembered(facts, self.digest, self.noted, self.directives, self.answer_parts, self.nonces)

    def answer(self, interval_ms: int, server_time: str) -> bytes:
        """What the runner is told now, where nothing but these two may have changed."""
        head, middle = self.answer_parts
        return b'%s%d%s%s"}' % (head, interval_ms, middle, server_time.encode())


def remembered(runner: RunnerFacts, digest: str, answer: HeartbeatAnswer, nonces: frozenset[str]) -> Remembered:
    """`answer` is what the runner would be told now; only the interval, and the time, which comes last, will be others."""
    told, name, _ = answer.model_dump_json(by_alias=True).rpartition('"serverTime":"')
    head, interval, rest = told.partition('"heartbeatIntervalMs":')
    parts = (head + interval).encode(), (rest[rest.index(",") :] + name).encode()
    noted = answer.runner.status, tuple(runner.observed_reasons or ())
    return Remembered(runner, digest, noted, answer.directives, parts, nonces)


def next_facts(known: Remembered, beat: Heartbeat, now: datetime, policy: PresencePolicy) -> RunnerFacts | None:
    """The runner after `beat`; None where the documented way must be taken: history, other rows or people have to learn of something."""
    facts = known.facts
    if beat.boot_id != facts.boot_id or beat.beat_seq <= facts.beat_seq or not is_in_touch(known, now, policy):
        return None
    said = told(beat)
    for name in _LASTING:
        if name in said and said[name] != getattr(facts, name):
            return None
    after = facts.changed({"last_heartbeat_at": now, "last_contact_at": now, **said})
    return after if _stands_as_noted(known, after, now, policy) else None


def may_wait(known: Remembered, nonce: str, now: datetime, until: datetime, policy: PresencePolicy) -> bool:
    """Whether a claim of this runner may wait `until` then by what is remembered: it repeats none, holds no job, and need not be noted
    as a contact, because the next one comes before its silence counts."""
    facts = known.facts
    if nonce in known.nonces or facts.live_leases > 0 or not is_in_touch(known, now, policy):
        return False
    silent_at = facts.last_contact_at and facts.last_contact_at + policy.timers.offline_after
    return silent_at is not None and until < silent_at and _stands_as_noted(known, facts, now, policy)


def is_in_touch(known: Remembered, now: datetime, policy: PresencePolicy) -> bool:
    """Whether its last heartbeat is not late, and nothing about it is special."""
    facts = known.facts
    if facts.revoked_at is not None or facts.goodbye_at is not None or facts.duplicate_seen_at is not None:
        return False
    if facts.roll_call_until is not None:
        # What it says it runs has to be compared with the records.
        return False
    last = facts.last_heartbeat_at
    return last is not None and last <= now <= last + policy.timers.heartbeat_late_after


def _stands_as_noted(known: Remembered, facts: RunnerFacts, now: datetime, policy: PresencePolicy) -> bool:
    presence = presence_of(facts, now, policy)
    return (presence.status, presence.reasons) == known.noted and admin_state_at(facts, now) is known.directives.admin_state


# What is written behind is only what differs from one heartbeat to the next.
_LASTING = ("version", "os", "arch", "container_engine", "configured_concurrency", "provider_state", "capabilities")
_TOLD = {"os", "arch", "container_engine", "configured_concurrency", "provider_state", "capabilities", "health"}


def told(beat: Heartbeat) -> dict[str, Any]:
    """What a heartbeat says of the runner, by the names of its facts; what it leaves out, or says as null, stays as it was."""
    facts = {"version": beat.version, "beat_seq": beat.beat_seq, "claim_poll_age_ms": beat.last_claim_poll_age_ms}
    for name in beat.model_fields_set & _TOLD:
        value = getattr(beat, name)
        if value is not None:
            facts[name] = value
    return facts
