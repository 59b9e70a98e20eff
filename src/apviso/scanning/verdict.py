"""What a scan's end is worth: clean, partial or failed. Pure; believes the guard's counters before it believes the scan."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Literal

from apviso.protocol.limits import Limits
from apviso.protocol.scan_events import Coverage, CoverageLine
from apviso.protocol.states import EndReason
from apviso.scanning.guard_rules import GuardCounters, Refusal

# Shares of the let-through requests from which on a scan no longer counts as a full look.
MANY_REFUSED = 0.2
MANY_UNANSWERED = 0.1
# Shares of the answers from which on the target did not show itself. A scanner's payloads provoke some errors of each kind by
# themselves, but hardly ever a 429.
MANY_SERVER_ERRORS = 0.25
MANY_DENIED = 0.2
MANY_LIMITED = 0.05
# Below this many refusals of the guard, a share says nothing.
FEW = 20
# The same for answers of the target: a small scan has few of them, so less is enough.
FEW_ANSWERS = 5
# A scan that found no more pages than this saw the start page only; what was excluded is then most of the target.
FEW_PAGES = 1
_MAX_REASONS = 50
_SERVER_ERRORS = "server_errors:"


class ScanExit(IntEnum):
    """How a scan process ends. Part of the contract with scan images: 0 when it looked, anything else when it could not."""

    LOOKED = 0
    TARGET_UNREACHABLE = 10
    AUTH_FAILED = 11
    SCANNER_FAILED = 20
    SCANNER_MISSING = 21
    RUN_TIMEOUT = 22
    INVALID_ORDER = 30


@dataclass(frozen=True)
class Verdict:
    """`message` is one sentence for people; `coverage.reasons` are `code: sentence`. A failed scan is never complete."""

    status: Literal["completed", "failed"]
    end_reason: EndReason
    coverage: Coverage
    message: str


@dataclass(frozen=True)
class _Remark:
    """Something the reader of the findings must know; `gap` where it kept the scan from looking."""

    text: str
    gap: bool = True


_EXITS: dict[int, tuple[EndReason, str]] = {
    ScanExit.TARGET_UNREACHABLE: (EndReason.TARGET_UNREACHABLE, "The target could not be reached or gave no usable page."),
    ScanExit.AUTH_FAILED: (EndReason.AUTH_FAILED, "The target refused access to its start page."),
    ScanExit.SCANNER_FAILED: (EndReason.SCANNER_FAILED, "The scanner ended without a usable report."),
    ScanExit.SCANNER_MISSING: (EndReason.ENGINE_UNAVAILABLE, "The scanners' environment is missing or broken on this runner."),
    ScanExit.RUN_TIMEOUT: (EndReason.RUN_TIMEOUT, "The scan did not end within its time."),
    ScanExit.INVALID_ORDER: (EndReason.INVALID_CONFIG, "The scan could not understand its order."),
}


def judge(exit_code: int | None, said: CoverageLine | None, counters: GuardCounters, limits: Limits, *, is_retest: bool = False) -> Verdict:
    """The end of one attempt that nobody cancelled.

    `exit_code` is the scan process's, negative for a signal, None where the runner had to end it at its time limit;
    `said` its last coverage line, if any; `counters` the guard's final ones. A retest asks hardly anything but places with flaws, and
    looks at each before and after: server errors, and refusals for want of credentials, are no sign of a target that was not itself."""
    remarks = _remarks(said, _of_places(counters) if is_retest else counters, limits)
    if is_retest:
        remarks = [replace(one, gap=False) if one.text.startswith(_SERVER_ERRORS) else one for one in remarks]
    failure = _failure(exit_code, said, counters)
    reasons = [remark.text[:500] for remark in remarks][: _MAX_REASONS - 1]
    if failure is not None:
        end_reason, message = failure
        others = [reason for reason in reasons if not reason.startswith(f"{end_reason}:")]
        return Verdict("failed", end_reason, Coverage(complete=False, reasons=[f"{end_reason}: {message}"[:500], *others]), message)
    complete = not any(remark.gap for remark in remarks)
    message = "The scan looked at all it was meant to." if complete else "The scan looked, but not at everything; see its coverage."
    return Verdict("completed", EndReason.COMPLETED, Coverage(complete=complete, reasons=reasons), message)


def _of_places(counters: GuardCounters) -> GuardCounters:
    """Without the 401s: an operation that did not ask for credentials and does now is mended."""
    return counters.model_copy(update={"answers": {status: number for status, number in counters.answers.items() if status != "401"}})


def _failure(exit_code: int | None, said: CoverageLine | None, counters: GuardCounters) -> tuple[EndReason, str] | None:
    """Why the scan is worth nothing by itself, the most telling cause first; None where it looked."""
    if exit_code in (ScanExit.SCANNER_MISSING, ScanExit.INVALID_ORDER, ScanExit.AUTH_FAILED):
        return _EXITS[exit_code]
    if (unusable := _unusable_target(counters)) is not None:
        return EndReason.TARGET_UNREACHABLE, unusable
    if exit_code is None:
        return EndReason.RUN_TIMEOUT, "The scan did not end within its time and was stopped."
    if exit_code < 0:
        return EndReason.SCANNER_FAILED, f"The scan was killed by signal {-exit_code}; lack of memory is a common cause."
    if exit_code != ScanExit.LOOKED:
        return _EXITS.get(exit_code, (EndReason.SCANNER_FAILED, f"The scan ended with exit code {exit_code}."))
    if said is None:
        return EndReason.SCANNER_FAILED, "The scan ended without saying what it covered."
    if counters.requests == 0:
        return EndReason.SCANNER_FAILED, "The scan ended without one permitted request to the target."
    if said.pages == 0:
        return EndReason.SCANNER_FAILED, "The scanner found no page to look at."
    return None


def _unusable_target(counters: GuardCounters) -> str | None:
    answered = sum(counters.classes.values())
    if counters.requests > 0 and answered == 0:
        return f"The target answered none of {counters.requests} requests."
    if answered > 0 and not (counters.answers.get("2xx") or counters.answers.get("3xx")):
        seen = ", ".join(f"{number} times {status}" for status, number in sorted(counters.classes.items()))
        return f"The target answered with errors only ({seen})."
    return None


def _remarks(said: CoverageLine | None, counters: GuardCounters, limits: Limits) -> list[_Remark]:
    almost_nothing = said is not None and said.pages <= FEW_PAGES
    found = [*_spent(counters, limits), *_excluded(counters, almost_nothing), *_refused(counters), *_unwell(counters)]
    if said is not None:
        found += [_Remark(reason, gap=not said.complete) for reason in said.reasons]
        if not said.complete and not said.reasons:
            found.append(_Remark("scanner_stopped_early: The scanner says that it did not look at everything."))
    return found


def _spent(counters: GuardCounters, limits: Limits) -> list[_Remark]:
    found = []
    refused = counters.refusals.get(Refusal.BUDGET_SPENT, 0)
    if refused or counters.requests >= limits.max_requests:
        found.append(_Remark(f"budget_spent: The budget of {limits.max_requests} requests was used up; {refused} more were refused."))
    if expired := counters.refusals.get(Refusal.PERMIT_EXPIRED, 0):
        found.append(_Remark(f"permit_expired: The runner stalled, so {expired} requests were refused."))
    return found


def _excluded(counters: GuardCounters, almost_nothing: bool) -> list[_Remark]:
    number = counters.refusals.get(Refusal.EXCLUDED_PATH, 0)
    return [_Remark(f"excluded_paths: {number} requests to excluded paths were refused.", gap=almost_nothing)] if number else []


def _refused(counters: GuardCounters) -> list[_Remark]:
    """Refusals that the rules are made for are remarked; they make a gap only where they are many."""
    found = []
    if number := counters.refusals.get(Refusal.METHOD_NOT_ALLOWED, 0):
        text = f"methods_refused: {number} requests with methods that are not permitted were refused."
        found.append(_Remark(text, gap=_many(number, counters, MANY_REFUSED)))
    if number := counters.refusals.get(Refusal.STRANGER, 0):
        found.append(_Remark(f"strangers_refused: {number} connections from other users of the host were refused.", gap=False))
    number = counters.refusals.get(Refusal.HOST_NOT_ALLOWED, 0)
    if _many(number, counters, MANY_REFUSED):
        found.append(_Remark(f"off_target_refused: {number} requests to other addresses than the target's were refused."))
    rest = (Refusal.UPGRADE_REFUSED, Refusal.BODY_TOO_LARGE, Refusal.QUEUE_FULL, Refusal.MALFORMED, Refusal.UNKNOWN_IDENTITY)
    found += [_Remark(f"{reason}: {number} requests were refused.") for reason in rest if (number := counters.refusals.get(reason, 0))]
    return found


def _unwell(counters: GuardCounters) -> list[_Remark]:
    """Signs that the target was not there, or not itself, for a good part of the scan."""
    found = []
    if counters.connect_errors >= max(FEW_ANSWERS, MANY_UNANSWERED * counters.requests):
        found.append(_Remark(f"unanswered: {counters.connect_errors} of {counters.requests} requests got no answer."))
    return [*found, *_unwilling(counters)]


def _unwilling(counters: GuardCounters) -> list[_Remark]:
    """Answers that show an error, a refusal or a limit in place of a page."""
    answered, found = sum(counters.classes.values()), []
    errors = counters.answers.get("5xx", 0)
    if errors >= max(FEW_ANSWERS, MANY_SERVER_ERRORS * answered):
        found.append(_Remark(f"{_SERVER_ERRORS} {errors} of {answered} answers were server errors."))
    denied = counters.answers.get("401", 0) + counters.answers.get("403", 0)
    if denied >= max(FEW_ANSWERS, MANY_DENIED * answered):
        found.append(_Remark(f"access_refused: {denied} of {answered} answers refused access (401 or 403)."))
    limited = counters.answers.get("429", 0)
    if limited >= max(1, MANY_LIMITED * answered):
        found.append(_Remark(f"rate_limited: {limited} of {answered} answers were refusals for too many requests (429)."))
    return found


def _many(number: int, counters: GuardCounters, share: float) -> bool:
    """Whether `number` is both noticeable and at least `share` of what was let through."""
    return number >= max(FEW, share * counters.requests) or (number > 0 and number >= counters.requests)
