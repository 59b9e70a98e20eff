"""Decides how a retest ends for one finding. Pure, and the only place where a retest calls anything fixed."""

from __future__ import annotations

from dataclasses import dataclass

from apviso.protocol.scan_events import FindingLook
from apviso.protocol.states import RetestOutcome, UserStatus


@dataclass(frozen=True)
class Retested:
    """How the scan ended: whether it completed, and whether its coverage has no gap."""

    has_completed: bool
    is_complete: bool


def outcome_of(scan: Retested, look: FindingLook | None, *, was_seen: bool, was_seen_before: bool = False) -> tuple[RetestOutcome, str]:
    """Fixed needs everything: a scan that completed without a gap, a whole look at the very place, and nothing seen there.

    What was seen is still open, however the scan ended; what an earlier attempt saw (`was_seen_before`), until one has looked wholly."""
    if was_seen:
        return RetestOutcome.STILL_OPEN, "The retest has seen it again."
    outcome, reason = _not_seen(scan, look)
    if was_seen_before and outcome is RetestOutcome.COULD_NOT_CHECK:
        return RetestOutcome.STILL_OPEN, "An earlier attempt of the retest has seen it again, and none has looked wholly since."
    return outcome, reason


def _not_seen(scan: Retested, look: FindingLook | None) -> tuple[RetestOutcome, str]:
    if not scan.has_completed:
        return RetestOutcome.COULD_NOT_CHECK, "The retest did not come to its end."
    if look is None:
        return RetestOutcome.COULD_NOT_CHECK, "The retest does not say that it has looked for it."
    if not look.complete:
        return RetestOutcome.COULD_NOT_CHECK, look.reason or "The retest has not looked at its place wholly."
    if not scan.is_complete:
        return RetestOutcome.COULD_NOT_CHECK, "The retest did not look at everything; its coverage says why."
    return RetestOutcome.FIXED, "The retest has looked for it as before and has not seen it."


def status_after(outcome: RetestOutcome, before: UserStatus) -> UserStatus:
    """What a retest makes of a finding's status. A false positive stays what a person called it."""
    if outcome is RetestOutcome.FIXED and before is not UserStatus.FALSE_POSITIVE:
        return UserStatus.FIXED
    if outcome is RetestOutcome.STILL_OPEN and before is UserStatus.FIXED:
        return UserStatus.OPEN
    return before
