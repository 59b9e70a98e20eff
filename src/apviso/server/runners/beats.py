"""Decides whether a heartbeat only repeats how a runner stands: then no row but its own has to change, and that can wait. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from apviso.protocol.daemon import Heartbeat, HeartbeatAnswer
from apviso.server.runners.facts import RunnerFacts
from apviso.server.runners.presence import Presence, PresencePolicy, admin_state_at, presence_of


@dataclass(frozen=True)
class Remembered:
    """A runner as its last heartbeat left it: the digest of its token, how it stood, and the answer without interval and time."""

    facts: RunnerFacts
    digest: str = field(repr=False)
    presence: Presence
    answer_parts: tuple[bytes, bytes]

    def answer(self, interval_ms: int, server_time: str) -> bytes:
        """What the runner is told now, where nothing but these two may have changed."""
        head, middle = self.answer_parts
        return b'%s%d%s%s"}' % (head, interval_ms, middle, server_time.encode())


def remembered(runner: RunnerFacts, digest: str, presence: Presence, answer: HeartbeatAnswer) -> Remembered:
    """`answer` is what the runner has just been told; only the interval, and the time, which comes last, will be others."""
    told, name, _ = answer.model_dump_json(by_alias=True).rpartition('"serverTime":"')
    head, interval, rest = told.partition('"heartbeatIntervalMs":')
    return Remembered(runner, digest, presence, ((head + interval).encode(), (rest[rest.index(",") :] + name).encode()))


def next_facts(known: Remembered, beat: Heartbeat, now: datetime, policy: PresencePolicy) -> RunnerFacts | None:
    """The runner after `beat`; None where the documented way must be taken: history, other rows or people have to learn of something."""
    facts = known.facts
    if beat.boot_id != facts.boot_id or beat.beat_seq <= facts.beat_seq:
        return None
    if facts.revoked_at is not None or facts.goodbye_at is not None or facts.duplicate_seen_at is not None:
        return None
    if (
        facts.last_heartbeat_at is None
        or not facts.last_heartbeat_at <= now <= facts.last_heartbeat_at + policy.timers.heartbeat_late_after
    ):
        return None
    after = facts.changed({"last_heartbeat_at": now, "last_contact_at": now, **told(beat)})
    if any(getattr(after, name) != getattr(facts, name) for name in _LASTING):
        return None
    presence = presence_of(after, now, policy)
    if (presence.status, presence.reasons) != (known.presence.status, known.presence.reasons):
        return None
    return after if admin_state_at(after, now) is admin_state_at(facts, facts.last_heartbeat_at) else None


# What is written behind is only what differs from one heartbeat to the next.
_LASTING = ("version", "os", "arch", "container_engine", "configured_concurrency", "provider_state", "capabilities")
_TOLD = ("os", "arch", "container_engine", "configured_concurrency", "provider_state", "capabilities", "health")


def told(beat: Heartbeat) -> dict[str, Any]:
    """What a heartbeat says of the runner, by the names of its facts; what it leaves out, or says as null, stays as it was."""
    said = {name: getattr(beat, name) for name in _TOLD if name in beat.model_fields_set}
    fixed = {"version": beat.version, "beat_seq": beat.beat_seq, "claim_poll_age_ms": beat.last_claim_poll_age_ms}
    return fixed | {name: value for name, value in said.items() if value is not None}
