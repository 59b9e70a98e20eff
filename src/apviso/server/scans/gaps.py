"""Decides what a log says of its own gaps: what its runner told, and the end of it where that never came. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from apviso.protocol.scan_events import LogEvent, MissingCause, ScanEvent
from apviso.protocol.scans import LogGap
from apviso.protocol.states import EndReason
from apviso.server.scans.facts import AttemptFacts

# A log with more gaps than that is none; the markers are in it all the same.
MOST_GAPS = 200


def told_gaps(events: Sequence[ScanEvent]) -> list[dict[str, Any]]:
    """Those that the runner says of itself, as they are kept."""
    return [
        LogGap(seq=event.seq, count=event.missing.count, cause=event.missing.cause).model_dump(mode="json", by_alias=True)
        for event in events
        if isinstance(event, LogEvent) and event.missing is not None
    ]


def with_more(kept: Sequence[Any] | None, more: Sequence[Any]) -> list[Any]:
    return [*(kept or ()), *more][:MOST_GAPS]


def gaps_of(attempt: AttemptFacts) -> list[LogGap]:
    """All gaps of the attempt's log. One that ended without a word of its runner has lost what was not uploaded yet."""
    gaps = [LogGap.model_validate(gap) for gap in attempt.log_gaps or ()]
    if attempt.ended_at is not None and attempt.started_at is not None:
        cause = _missing_end(attempt)
        if cause is not None:
            gaps.append(LogGap(seq=attempt.last_seq + 1, count=None, cause=cause))
    return gaps


def _missing_end(attempt: AttemptFacts) -> MissingCause | None:
    if attempt.finish is None:
        return MissingCause.RUNNER_LOST
    return MissingCause.UPLOAD_INCOMPLETE if attempt.finish.get("endReason") == EndReason.UPLOAD_INCOMPLETE else None
