"""Decides what becomes of a proof of control: when it is looked for again, how long one may be missing, when it is lost. Pure."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from apviso.protocol.states import VISIBILITIES_NEEDING_PROOF, VerificationMethod
from apviso.server.targets.facts import KnownTarget

# About a month. Each target has a day of its own, so that those that were proved together are not looked at together for ever.
LOOK_EVERY, SPREAD = timedelta(days=30), 0.1
# A name server or an application may be down for a while; whoever lost the host has lost it by the end of the grace.
LOOK_AGAIN_AFTER, GRACE = timedelta(days=1), timedelta(days=7)
# A scan that starts stands on a look that is not older.
FRESH_FOR = timedelta(hours=24)
MAX_ERROR_CHARACTERS = 1000

# Of another host or visibility nothing is proved, whatever was.
NOT_PROVED: Mapping[str, None] = {
    "verified_at": None,
    "verification_method": None,
    "verification_checked_at": None,
    "verification_error": None,
    "verification_failing_since": None,
    "verification_due_at": None,
}


class Told(StrEnum):
    """What people are told of a look; the last part of the name of its event."""

    VERIFIED = "verified"
    FAILED = "verification_failed"
    FAILING = "verification_failing"
    RECOVERED = "verification_recovered"
    LOST = "verification_lost"


@dataclass(frozen=True)
class Change:
    """The columns that a look changes, and what is told of it, if anything."""

    told: Told | None
    values: Mapping[str, object] = field(default_factory=dict)


def new_token() -> str:
    """What the owner of a target publishes. Nobody can guess it, so a page that is there by chance does not hold it."""
    return secrets.token_hex(16)


def is_needed(target: KnownTarget, *, is_required: bool) -> bool:
    """Whether a scan of this target stands on a proof. `is_required` is the organization's switch."""
    return is_required and target.visibility in VISIBILITIES_NEEDING_PROOF


def is_stale(target: KnownTarget, now: datetime) -> bool:
    """Whether a proof has to be looked for again before a scan starts."""
    if target.verified_at is None or target.verification_method is None:
        return False
    checked_at = target.verification_checked_at
    # A clock that was set back makes it stale, too.
    return checked_at is None or not timedelta() <= now - checked_at <= FRESH_FOR


def lost_at(target: KnownTarget) -> datetime | None:
    """When a proof that is missing is lost unless it comes back; None while it is there."""
    since = target.verification_failing_since
    return None if target.verified_at is None or since is None else since + GRACE


def after_asking(target: KnownTarget, method: VerificationMethod, error: str | None, now: datetime, chance: float) -> Change:
    """Somebody asked to be verified. A proof that holds does not end because another way was tried in vain."""
    if error is None:
        return Change(Told.VERIFIED, {"verified_at": now, "verification_method": method, **_found(now, chance)})
    if target.verified_at is not None:
        return Change(Told.FAILED)
    return Change(Told.FAILED, {"verification_checked_at": now, "verification_error": error[:MAX_ERROR_CHARACTERS]})


def after_look(target: KnownTarget, error: str | None, now: datetime, chance: float) -> Change:
    """A proof that was there was looked for again. `chance` is drawn from 0 to 1."""
    if error is None:
        return Change(Told.RECOVERED if target.verification_failing_since else None, _found(now, chance))
    since = target.verification_failing_since or now
    missed = {"verification_checked_at": now, "verification_error": error[:MAX_ERROR_CHARACTERS]}
    if now - since >= GRACE:
        return Change(Told.LOST, {**NOT_PROVED, **missed})
    due_at = min(now + LOOK_AGAIN_AFTER, since + GRACE)
    return Change(Told.FAILING, {**missed, "verification_failing_since": since, "verification_due_at": due_at})


def _found(now: datetime, chance: float) -> dict[str, object]:
    due_at = now + LOOK_EVERY * (1 + SPREAD * (2 * chance - 1))
    return {
        "verification_checked_at": now,
        "verification_error": None,
        "verification_failing_since": None,
        "verification_due_at": due_at,
    }
