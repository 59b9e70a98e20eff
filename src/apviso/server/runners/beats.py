"""Decides whether a heartbeat only repeats how a runner stands: then no row but its own has to change, and that can wait. Pure."""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple

from pydantic import JsonValue
from pydantic_core import from_json

from apviso.protocol.daemon import MAX_CURRENT_JOBS, MOST_AMOUNT, Directives, Heartbeat, HeartbeatAnswer
from apviso.protocol.states import RunnerStatus
from apviso.protocol.wire import NEVER_TOO_LONG, OrganizationId, RunnerId, is_plain
from apviso.server.runners.facts import RunnerFacts
from apviso.server.runners.presence import PresencePolicy, Wellness, admin_state_at, presence_of, wellness_of


class Pulse(NamedTuple):
    """What each heartbeat changes, and whose it is, by the names of the facts. No more has to be written."""

    id: RunnerId
    organization_id: OrganizationId
    boot_id: str | None
    last_heartbeat_at: datetime | None
    beat_seq: int
    claim_poll_age_ms: int | None
    health: dict[str, JsonValue]


class Remembered(NamedTuple):
    """A runner as it was read, and its last heartbeat since: the digest of its token, how it was noted to stand, what it is told, the
    answer without interval and time, the nonces of its latest claims, how long it is well, and what each of its heartbeats repeats."""

    read: RunnerFacts
    digest: str
    noted: tuple[RunnerStatus, tuple[str, ...]]
    directives: Directives
    answer_parts: tuple[bytes, bytes]
    nonces: frozenset[str]
    pulse: Pulse
    well: Wellness | None = None
    repeated: tuple[JsonValue, ...] = ()

    def __repr__(self) -> str:
        return f"Remembered({self.read.id})"

    def moved_to(self, pulse: Pulse, repeated: tuple[JsonValue, ...]) -> Remembered:
        # Not `_replace`, which takes three times as long: each heartbeat comes by here.
        return Remembered(self.read, self.digest, self.noted, self.directives, self.answer_parts, self.nonces, pulse, self.well, repeated)

    @property
    def facts(self) -> RunnerFacts:
        """The runner as it is now."""
        latest = self.pulse
        if latest.beat_seq == self.read.beat_seq:
            return self.read
        return self.read.changed(latest._asdict() | {"last_contact_at": latest.last_heartbeat_at})

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
    spoke = runner.last_heartbeat_at, runner.beat_seq, runner.claim_poll_age_ms, runner.health
    latest = Pulse(runner.id, runner.organization_id, runner.boot_id, *spoke)
    return Remembered(runner, digest, noted, answer.directives, parts, nonces, latest)


def after_beat(known: Remembered, text: bytes, now: datetime, policy: PresencePolicy) -> Remembered | None:
    """The runner after the heartbeat `text`; None where the documented way must be taken: history, other rows or people have to learn
    of something. Raises ValidationError."""
    repeated, pulse = known.repeated, _plain_pulse(known, text, now)
    if pulse is None:
        beat = Heartbeat.model_validate_json(text)
        if not _repeats(known.read, beat):
            return None
        repeated = _repeated(_read(text) or {})
        health = told(beat).get("health", known.pulse.health)
        pulse = known.pulse._replace(
            last_heartbeat_at=now, beat_seq=beat.beat_seq, claim_poll_age_ms=beat.last_claim_poll_age_ms, health=health
        )
    if pulse.beat_seq <= known.pulse.beat_seq or not is_in_touch(known, now, policy):
        return None
    after = known.moved_to(pulse, repeated)
    if known.well is not None and known.well.lasts(pulse.health, pulse.claim_poll_age_ms, now, policy):
        return after
    facts = after.facts
    return after._replace(well=wellness_of(facts, now, policy)) if _stands_as_noted(known, facts, now, policy) else None


def _plain_pulse(known: Remembered, text: bytes, now: datetime) -> Pulse | None:
    """What the model would make of a heartbeat that repeats all that the last one said of what stays, in an eighth of the time.

    None in every doubt: what stays equals what the model took before, and what is new is passed only in its plainest form.
    """
    said = _read(text)
    if said is None or _repeated(said) != known.repeated or type(said.get("beatSeq")) is not int:
        return None
    say, latest = said.get, known.pulse
    beat_seq, age, jobs, health = said["beatSeq"], say("lastClaimPollAgeMs", 0), say("currentJobs", 0), say("health", {})
    if not (type(age) is int and type(jobs) is int and type(health) is dict):
        return None
    if not (0 <= beat_seq <= MOST_AMOUNT and 0 <= age <= MOST_AMOUNT and 0 <= jobs <= MAX_CURRENT_JOBS and is_plain(health)):
        return None
    kept = health if "health" in said else latest.health
    return Pulse(latest.id, latest.organization_id, latest.boot_id, now, beat_seq, say("lastClaimPollAgeMs"), kept)


def _read(text: bytes) -> dict[str, Any] | None:
    if len(text) > NEVER_TOO_LONG:
        return None
    try:
        said = from_json(text, allow_inf_nan=False)
    except ValueError:
        return None
    return said if type(said) is dict and _NAMES_INSIDE.isdisjoint(said) else None


def _repeated(said: dict[str, Any]) -> tuple[JsonValue, ...]:
    return tuple(map(said.get, _REPEATED))


def _repeats(facts: RunnerFacts, beat: Heartbeat) -> bool:
    """Whether it says of what stays what is known already."""
    said = told(beat)
    return beat.boot_id == facts.boot_id and all(name not in said or said[name] == getattr(facts, name) for name in _LASTING)


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
    read, last = known.read, known.pulse.last_heartbeat_at
    if read.revoked_at is not None or read.goodbye_at is not None or read.duplicate_seen_at is not None:
        return False
    if read.roll_call_until is not None:
        # What it says it runs has to be compared with the records.
        return False
    return last is not None and last <= now <= last + policy.timers.heartbeat_late_after


def _stands_as_noted(known: Remembered, facts: RunnerFacts, now: datetime, policy: PresencePolicy) -> bool:
    presence = presence_of(facts, now, policy)
    return (presence.status, presence.reasons) == known.noted and admin_state_at(facts, now) is known.directives.admin_state


# What is written behind is only what differs from one heartbeat to the next.
_LASTING = ("version", "os", "arch", "container_engine", "configured_concurrency", "provider_state", "capabilities")
# By the names outside: what stays where it is repeated, and names of fields that the model takes as well.
_REPEATED = ("bootId", "version", "os", "arch", "containerEngine", "configuredConcurrency", "runningJobs", "providerState", "capabilities")
_NAMES_INSIDE = frozenset(name for name, field in Heartbeat.model_fields.items() if field.alias not in (None, name))
_TOLD = {"os", "arch", "container_engine", "configured_concurrency", "provider_state", "capabilities", "health"}


def told(beat: Heartbeat) -> dict[str, Any]:
    """What a heartbeat says of the runner, by the names of its facts; what it leaves out, or says as null, stays as it was."""
    facts = {"version": beat.version, "beat_seq": beat.beat_seq, "claim_poll_age_ms": beat.last_claim_poll_age_ms}
    for name in beat.model_fields_set & _TOLD:
        value = getattr(beat, name)
        if value is not None:
            facts[name] = value
    return facts
