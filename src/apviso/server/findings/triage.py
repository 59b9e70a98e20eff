"""Decides what people may say of a finding, and what a sighting of it is worth telling. Pure."""

from __future__ import annotations

from datetime import datetime

from apviso.protocol.findings import FindingStatusPatch
from apviso.protocol.states import UserStatus
from apviso.server.errors import field_refused


def end_of_risk(patch: FindingStatusPatch, now: datetime) -> datetime | None:
    """When an accepted risk ends. Raises InvalidFields for an end of anything else, and for one that is past."""
    if patch.until is None:
        return None
    if patch.user_status is not UserStatus.ACCEPTED_RISK:
        raise field_refused("until", "goes with accepted_risk alone")
    if patch.until <= now:
        raise field_refused("until", "must be in the future")
    return patch.until


def status_when_seen(status: UserStatus) -> UserStatus:
    """A flaw that is there again was not fixed; all else that a person said of it stays."""
    return UserStatus.OPEN if status is UserStatus.FIXED else status


def news_of(before: UserStatus, *, is_new: bool) -> str | None:
    """What the live stream is told of a sighting; nothing of a flaw that is known, and of a false positive above all."""
    if is_new:
        return "finding.created"
    return "finding.reopened" if before is UserStatus.FIXED else None
