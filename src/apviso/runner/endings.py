"""How an attempt ends, as pure decisions: from a reason to stop, or from the verdict on what was looked at, to what is told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, assert_never

from pydantic import JsonValue

from apviso.protocol.daemon import Finish
from apviso.protocol.scan_events import Coverage, FindingLook
from apviso.protocol.states import EndReason
from apviso.runner.attempts import Stop
from apviso.runner.engines import ScanExit
from apviso.scanning.verdict import Verdict

NOT_LOOKED = Coverage(complete=False, reasons=["not_run: The scan was not run to its end."])
_LONGEST_MESSAGE = 2000


@dataclass(frozen=True)
class Ending:
    """`message` is one sentence for people; it is empty where all went well. `looks` are those of a retest that came to its end."""

    status: Literal["completed", "failed", "cancelled"]
    end_reason: EndReason
    message: str = ""
    coverage: Coverage = NOT_LOOKED
    looks: tuple[FindingLook, ...] = ()

    def as_finish(self, attempt: int, last_seq: int, metadata: Mapping[str, JsonValue]) -> Finish:
        return Finish(
            attempt=attempt,
            status=self.status,
            end_reason=self.end_reason,
            error_message=self.message[:_LONGEST_MESSAGE] if self.message and self.status != "completed" else None,
            last_seq=last_seq,
            coverage=self.coverage,
            looks=list(self.looks),
            runtime_metadata=dict(metadata),
        )


def failed(reason: EndReason, message: str) -> Ending:
    return Ending("failed", reason, message, Coverage(complete=False, reasons=[f"{reason}: {message}"[:500]]))


def ending_of_stop(stop: Stop) -> Ending | None:
    """What to tell for an attempt that was stopped; None where nothing may be told."""
    match stop:
        case Stop.CANCELLED:
            return Ending("cancelled", EndReason.CANCELED_BY_USER, "The scan was cancelled.")
        case Stop.LEASE_EXPIRED:
            return failed(EndReason.RUNNER_LOST, "The runner could not renew its lease in time and stopped the scan by itself.")
        case Stop.SHUTDOWN:
            return failed(EndReason.RUNNER_SHUTDOWN, "The runner was stopped while the scan ran.")
        case Stop.DRAINED:
            return failed(EndReason.RUNNER_SHUTDOWN, "The runner's drain deadline passed while the scan ran.")
        case Stop.TIMED_OUT:
            return failed(EndReason.RUN_TIMEOUT, "The scan did not end within its time and was stopped.")
        case Stop.SPOOL_FULL:
            return failed(EndReason.DISK_FULL, "The runner had no room left for the scan's events.")
        case Stop.FLOODED:
            return failed(EndReason.SCANNER_FAILED, "The scan wrote more output than it may.")
        case Stop.GUARD_DIED:
            return failed(EndReason.ENGINE_UNAVAILABLE, "The guard between scan and target ended unexpectedly.")
        case Stop.LEASE_LOST | Stop.REVOKED:
            return None
        case _:
            assert_never(stop)


def ending_of_verdict(verdict: Verdict, exit_: ScanExit, gaps: Sequence[str]) -> Ending:
    """`gaps` say, as `code: sentence`, what a look at the target after the scan missed: itself, or a login."""
    if exit_.out_of_memory:
        return failed(EndReason.OUT_OF_MEMORY, "The system ended the scan because memory ran out.")
    ending = Ending(verdict.status, verdict.end_reason, verdict.message, verdict.coverage)
    if not gaps or verdict.status != "completed":
        return ending
    reasons = [*(gap[:500] for gap in gaps), *verdict.coverage.reasons]
    return replace(ending, coverage=Coverage(complete=False, reasons=reasons[:50]))


def with_remarks(ending: Ending, remarks: Sequence[str], *, is_gap: bool = True) -> Ending:
    """The ending with more reasons in its coverage; a gap is something that was not looked at, or whose findings are missing."""
    if not remarks:
        return ending
    complete = ending.coverage.complete and not is_gap
    return replace(ending, coverage=Coverage(complete=complete, reasons=[*remarks, *ending.coverage.reasons][:50]))


def out_of_room(ending: Ending) -> Ending:
    """The ending of a scan that complained of a full disk: where it failed, that is why."""
    if ending.end_reason is not EndReason.SCANNER_FAILED:
        return ending
    return failed(EndReason.DISK_FULL, f"The scan had no room left in its own folder. {ending.message}")


def without_missing_events(finish: Finish, last_seq: int) -> Finish:
    """The finish for an attempt whose events could not all be delivered: never a clean one."""
    reason = "upload_incomplete: Some events of the scan could not be delivered."
    return finish.model_copy(
        update={
            "status": "failed",
            "end_reason": EndReason.UPLOAD_INCOMPLETE,
            "error_message": "Some events of the scan could not be delivered.",
            "last_seq": last_seq,
            "coverage": Coverage(complete=False, reasons=[reason, *finish.coverage.reasons][:50]),
        }
    )
