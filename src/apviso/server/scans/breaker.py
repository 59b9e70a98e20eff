"""Decides when a runner fails scans so fast that it is kept from them, and whether a scan has shown that it works again. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from apviso.protocol.runners import FastFailure, Quarantine
from apviso.protocol.states import COMPLETED_REASONS, AdminState, EndReason
from apviso.protocol.timers import Timers
from apviso.protocol.wire import ScanId, TargetId
from apviso.server.runners.facts import RunnerFacts
from apviso.server.runners.presence import admin_state_at
from apviso.server.scans.facts import AttemptFacts, ScanFacts

# Whatever the target is: the fault lies with the runner, its engine, its image or its disk.
OWN = frozenset(
    {
        EndReason.PREPARE_TIMEOUT,
        EndReason.IMAGE_UNAVAILABLE,
        EndReason.IMAGE_REFUSED,
        EndReason.DISK_FULL,
        EndReason.RUNNER_LOST,
        EndReason.ENGINE_UNAVAILABLE,
    }
)
# One target may be enough to bring a scanner down again and again; several are not.
DOUBTFUL = frozenset({EndReason.OUT_OF_MEMORY, EndReason.SCANNER_FAILED, EndReason.INTERNAL_ERROR})
MOST_EVIDENCE = 10
_LONGEST_MESSAGE = 300


@dataclass(frozen=True)
class Ending:
    """How one attempt of a runner ended."""

    scan_id: ScanId
    attempt: int
    target_id: TargetId
    reason: EndReason
    message: str | None
    assigned_at: datetime
    started_at: datetime | None
    ended_at: datetime

    @classmethod
    def of(cls, scan: ScanFacts, attempt: AttemptFacts, reason: EndReason, message: str | None, now: datetime) -> Ending:
        """Of an attempt that ends now."""
        return cls(scan.id, attempt.number, scan.target_id, reason, message, attempt.assigned_at, attempt.started_at, now)


class Sign(StrEnum):
    """What an ending says of the runner. Most say nothing: a target that is away, a cancel, a stop."""

    FAILS = "fails"
    WORKS = "works"


def sign_of(ending: Ending, timers: Timers) -> Sign | None:
    if ending.reason in COMPLETED_REASONS:
        return Sign.WORKS
    if ending.reason in OWN | DOUBTFUL and ending.ended_at - ending.assigned_at <= timers.fast_failure_within:
        return Sign.FAILS
    has_scanned = ending.started_at is not None and ending.ended_at - ending.started_at > timers.fast_failure_within
    return Sign.WORKS if has_scanned and ending.reason not in OWN else None


def failures_in_a_row(latest_first: Iterable[Ending], timers: Timers) -> list[Ending]:
    """The fast failures since the runner last showed that it works, the latest first.

    Attempts that ran side by side fail together for one cause, and count once; so do doubtful failures of one target.
    """
    counted: list[Ending] = []
    doubted: set[TargetId] = set()
    for ending in latest_first:
        sign = sign_of(ending, timers)
        if sign is Sign.WORKS:
            break
        is_beside = bool(counted) and ending.ended_at > counted[-1].assigned_at
        if sign is None or is_beside or (ending.reason in DOUBTFUL and ending.target_id in doubted):
            continue
        if ending.reason in DOUBTFUL:
            doubted.add(ending.target_id)
        counted.append(ending)
    return counted


def is_on_trial(runner: RunnerFacts, now: datetime) -> bool:
    """After a quarantine it gets one scan at a time."""
    return runner.quarantine is not None and admin_state_at(runner, now) is AdminState.ENABLED


def has_passed(runner: RunnerFacts, ending: Ending, now: datetime, timers: Timers) -> bool:
    """Whether this scan of the trial shows that the runner works. What had begun before the quarantine shows nothing."""
    return is_on_trial(runner, now) and _is_of_the_trial(runner, ending) and sign_of(ending, timers) is Sign.WORKS


def quarantine_for(runner: RunnerFacts, latest: Ending, earlier_ones: Sequence[Ending], now: datetime, timers: Timers) -> Quarantine | None:
    """The quarantine that begins with this ending: after a row of fast failures, or after one during the trial.

    `earlier_ones`: how its other attempts ended, the latest first.
    """
    if admin_state_at(runner, now) is not AdminState.ENABLED or sign_of(latest, timers) is not Sign.FAILS:
        return None
    before = runner.quarantine
    if before is not None:
        if not _is_of_the_trial(runner, latest):
            return None
        failures, number = [_evidence(latest), *before.failures], before.number + 1
    else:
        trusted = [one for one in (latest, *earlier_ones) if runner.trusted_at is None or one.assigned_at > runner.trusted_at]
        row = failures_in_a_row(trusted, timers)
        if len(row) < timers.fast_failures_limit:
            return None
        failures, number = [_evidence(one) for one in row], 1
    return Quarantine(since=now, until=now + _length(number, timers), number=number, failures=failures[:MOST_EVIDENCE])


def _is_of_the_trial(runner: RunnerFacts, ending: Ending) -> bool:
    return runner.quarantine is not None and ending.assigned_at > runner.quarantine.since


def _length(number: int, timers: Timers) -> timedelta:
    doublings = min(number - 1, 20)
    return min(timers.first_quarantine * (1 << doublings), timers.longest_quarantine)


def _evidence(ending: Ending) -> FastFailure:
    lasted = (ending.ended_at - ending.assigned_at).total_seconds()
    message = ending.message and ending.message[:_LONGEST_MESSAGE]
    return FastFailure(
        scan_id=ending.scan_id,
        attempt=ending.attempt,
        end_reason=ending.reason,
        status_reason=message,
        seconds=round(max(lasted, 0), 1),
        at=ending.ended_at,
    )


def told(quarantine: Quarantine) -> str:
    """One sentence for people, without any word of a runner: it is shown in many places."""
    cause = quarantine.failures[0].end_reason
    if quarantine.number > 1:
        return f"The scan that was to show whether it works again failed at once ({cause})."
    return f"{len(quarantine.failures)} scans in a row failed at once, the latest with {cause}."
