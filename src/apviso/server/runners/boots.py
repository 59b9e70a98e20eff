"""Decides when two machines use one identity, and remembers from where the latest boots of a runner spoke. Pure."""

from __future__ import annotations

from datetime import datetime, timedelta

from apviso.protocol.runners import Boot, DuplicateIdentity
from apviso.server.runners.facts import RunnerFacts

# As many machines with one identity as are told apart.
LEAST_BOOTS, MOST_BOOTS = 2, 8
# Boots that are older than that were restarts.
SHORTLY = timedelta(minutes=2)


def duplicate_seen_at(known: RunnerFacts, boot_id: str, now: datetime, remembered: timedelta) -> datetime | None:
    """A boot that was replaced by another and speaks again proves two machines with one identity."""
    replaced = {known.previous_boot_id, *(boot.boot_id for boot in known.boots)}
    if boot_id != known.boot_id and boot_id in replaced:
        return now
    still_told = known.duplicate_seen_at is not None and now - known.duplicate_seen_at < remembered
    return known.duplicate_seen_at if still_told else None


def next_boots(known: RunnerFacts, boot_id: str, address: str | None, now: datetime) -> tuple[Boot, ...]:
    """The boots after a heartbeat, the one that sent it first. While one boot goes on to speak, nothing changes."""
    if known.boots and known.boots[0].boot_id == boot_id:
        return known.boots
    others = [boot for boot in known.boots if boot.boot_id != boot_id]
    return (Boot(boot_id=boot_id, address=address, at=now), *others)[:MOST_BOOTS]


def duplicate_of(runner: RunnerFacts) -> DuplicateIdentity | None:
    """Who took turns when it was last seen: the two latest boots, and others that came in shortly before."""
    seen_at = runner.duplicate_seen_at
    if seen_at is None:
        return None
    boots = [boot for place, boot in enumerate(runner.boots) if place < LEAST_BOOTS or boot.at >= seen_at - SHORTLY]
    return DuplicateIdentity(seen_at=seen_at, boots=boots)
