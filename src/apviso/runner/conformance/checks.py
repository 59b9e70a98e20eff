"""What the trials say about an image: one check for each clause of the contract, with the reason and the fix. Pure."""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping
from enum import StrEnum

from apviso.protocol.wire import Wire
from apviso.runner.conformance.situations import Situation
from apviso.runner.conformance.trial import INPUT_END_SECONDS, MOST_SECONDS, PROMPT_SECONDS, Trial
from apviso.runner.execution import STOP_GRACE_SECONDS
from apviso.runner.terminal import printable
from apviso.scanning.guard_rules import Refusal
from apviso.scanning.verdict import ScanExit

FIRST_LINE_SECONDS = 30.0
# A scan that is told that its budget is spent may finish what it has begun, but it must not knock on for ever.
MOST_KNOCKS = 100
_MOST_REASONS = 3
KILLED = 128 + signal.SIGKILL
Trials = Mapping[Situation, Trial]


class Outcome(StrEnum):
    PASSED = "passed"
    WARNING = "warning"
    FAILED = "failed"
    NOT_JUDGED = "not_judged"


class Check(Wire):
    """`message` says what was seen, `fix` what to do where that is not as it must be."""

    code: str
    outcome: Outcome
    message: str
    fix: str = ""


class _Finding(Exception):
    """What is wrong, and what to do about it."""

    def __init__(self, message: str, fix: str, outcome: Outcome = Outcome.FAILED) -> None:
        super().__init__(message)
        self.fix = fix
        self.outcome = outcome


def judge_trials(trials: Trials) -> list[Check]:
    """All checks in the order of a scan. `trials` may lack situations, where an image could not even start."""
    return [_check(code, judge, trials) for code, judge in CHECKS.items()]


def _check(code: str, judge: Callable[[Trials], str], trials: Trials) -> Check:
    try:
        return Check(code=code, outcome=Outcome.PASSED, message=judge(trials))
    except _Finding as found:
        return Check(code=code, outcome=found.outcome, message=str(found), fix=found.fix)


def _seen(trials: Trials, situation: Situation) -> Trial:
    trial = trials.get(situation)
    if trial is None or trial.cannot_start is not None:
        raise _Finding("Not looked at: the image could not be started.", "", Outcome.NOT_JUDGED)
    return trial


def starts(trials: Trials) -> str:
    refusals = [trial.cannot_start for trial in trials.values() if trial.cannot_start is not None]
    if refusals:
        fix = "Give the image an ENTRYPOINT that account 65532 can run from a read-only root, for this machine's processor."
        raise _Finding(f"The engine could not start it: {refusals[0]}", fix)
    return "It starts as account 65532 with a read-only root and no network."


def first_line(trials: Trials) -> str:
    heard = _seen(trials, Situation.ORDINARY).heard
    fix = "Write a log or phase line as soon as the order is read, and flush standard output after each line."
    if heard.first_seconds is None:
        last_words = f" Its last words on standard error: {heard.complaint}" if heard.complaint else ""
        raise _Finding(f"It wrote no line of the contract.{last_words}", fix)
    if heard.first_seconds > FIRST_LINE_SECONDS:
        raise _Finding(f"The first line came after {heard.first_seconds:.1f} s; people wait for a sign of life.", fix)
    return f"The first line came after {heard.first_seconds:.1f} s."


def reads_order(trials: Trials) -> str:
    trial = _seen(trials, Situation.ORDINARY)
    if not any(path.startswith(trial.scan_path) for path in trial.paths):
        fix = "Read one line from standard input (not up to its end: it stays open) and start at target.scanUrl."
        raise _Finding("The target was never asked for the page that the order names.", fix)
    return "It asked for the page that the order names."


def uses_guard(trials: Trials) -> str:
    counters = _seen(trials, Situation.ORDINARY).counters
    if not counters.requests:
        fix = (
            "Send requests as an HTTP proxy client through the socket file that proxySocket names; HTTP_PROXY works only where the "
            "image shows that socket at 127.0.0.1:3128."
        )
        raise _Finding(f"No permitted request came through the guard ({counters.refused} were refused).", fix)
    return f"{counters.requests} permitted requests came through the guard."


def keeps_rules(trials: Trials) -> str:
    refusals = {reason: number for reason, number in _seen(trials, Situation.ORDINARY).counters.refusals.items() if number}
    if refusals:
        told = ", ".join(f"{number} times {reason}" for reason, number in sorted(refusals.items()))
        fix = "Stay with the target's scheme, host and port, with limits.methods, and away from limits.excludePaths."
        raise _Finding(f"The guard refused requests: {told}.", fix, Outcome.WARNING)
    return "It tried nothing that the rules forbid."


def lines(trials: Trials) -> str:
    strange = [(trial.situation, trial.heard) for trial in trials.values() if trial.heard.strange]
    if strange:
        situation, heard = strange[0]
        examples = "; ".join(heard.examples)
        fix = "Write nothing but one JSON object on each line of standard output, as the schema has it; everything else to standard error."
        raise _Finding(f"In {situation}, {heard.strange} lines are none of the contract, such as: {examples}", fix)
    if not any(trial.heard.understood for trial in trials.values()):
        raise _Finding("It wrote no line.", "", Outcome.NOT_JUDGED)
    return f"All {sum(trial.heard.understood for trial in trials.values())} lines are of the contract."


def coverage(trials: Trials) -> str:
    said = _seen(trials, Situation.ORDINARY).heard.said
    if said is None:
        raise _Finding("The last line is no coverage line.", "Write the coverage line last, and flush it before the program ends.")
    if said.pages == 0:
        raise _Finding("The coverage line says that no page was seen.", "Count in pages what was looked at; 0 makes a scan a failed one.")
    reasons = "".join(f"; {printable(reason)}" for reason in said.reasons[:_MOST_REASONS])
    return f"The last line is the coverage: pages {said.pages}, {'complete' if said.complete else 'not complete'}{reasons}"


def exit_code(trials: Trials) -> str:
    code = _ended(_seen(trials, Situation.ORDINARY), MOST_SECONDS)
    if code != ScanExit.LOOKED:
        raise _Finding(f"It looked at a target that answers, and ended with exit code {code}.", "End with 0 when the scan has looked.")
    return "It ended with exit code 0."


def unknown_fields(trials: Trials) -> str:
    trial = _seen(trials, Situation.UNKNOWN_FIELDS)
    if _ended(trial, MOST_SECONDS) != ScanExit.LOOKED or trial.heard.said is None:
        message = f"With fields of a later version in its order it ended with exit code {trial.exit_code}."
        raise _Finding(message, "Ignore fields that the program does not know.")
    return "Fields of a later version in the order are ignored."


def target_down(trials: Trials) -> str:
    trial = _seen(trials, Situation.TARGET_DOWN)
    if _ended(trial, MOST_SECONDS) == ScanExit.LOOKED and (trial.heard.said is None or trial.heard.said.complete):
        fix = f"End with {ScanExit.TARGET_UNREACHABLE.value} where the guard closes the connection without an answer."
        raise _Finding("The target was down, and the scan ended as one that looked at everything.", fix)
    return f"A target that is down ends the scan with exit code {trial.exit_code}."


def invalid_order(trials: Trials) -> str:
    code = _ended(_seen(trials, Situation.INVALID_ORDER), PROMPT_SECONDS)
    if code == ScanExit.LOOKED:
        raise _Finding("An order that is cut off ended with exit code 0.", f"End with {ScanExit.INVALID_ORDER.value} then.")
    return f"An order that is cut off ends with exit code {code}."


def termination(trials: Trials) -> str:
    trial = _seen(trials, Situation.TERMINATED)
    _was_running(trial)
    if trial.exit_code == KILLED and trial.reaction_seconds >= STOP_GRACE_SECONDS - 0.5:
        fix = "Set a handler for SIGTERM that ends the program: as first process of a container it is deaf to signals without one."
        raise _Finding(f"SIGTERM did not end it within {STOP_GRACE_SECONDS:.0f} s; it had to be killed.", fix)
    return f"SIGTERM ended it after {trial.reaction_seconds:.1f} s."


def input_end(trials: Trials) -> str:
    trial = _seen(trials, Situation.INPUT_ENDS)
    _was_running(trial)
    if trial.exit_code is None:
        fix = "Go on reading standard input while the scan runs, and end at once, with all that was started, when it ends."
        raise _Finding(f"It went on for {INPUT_END_SECONDS:.0f} s after standard input had ended; the runner is gone then.", fix)
    return f"The end of standard input ended it after {trial.reaction_seconds:.1f} s."


def budget(trials: Trials) -> str:
    trial = _seen(trials, Situation.SMALL_BUDGET)
    _ended(trial, MOST_SECONDS)
    knocks = trial.counters.refusals.get(Refusal.BUDGET_SPENT, 0)
    if knocks > MOST_KNOCKS:
        fix = "Take an answer with the header X-Guard-Refusal: budget_spent for the end of the scan."
        raise _Finding(f"It sent {knocks} requests more after its budget of one was spent.", fix, Outcome.WARNING)
    return f"With its budget spent it came to an end ({knocks} requests were refused)."


def _ended(trial: Trial, seconds: float) -> int:
    if trial.exit_code is None:
        fix = "Heed limits.maxRunSeconds, put a time-out on each request, and take refusals for answers."
        raise _Finding(f"In {trial.situation} it did not end within {seconds:.0f} s.", fix)
    return trial.exit_code


def _was_running(trial: Trial) -> None:
    if not trial.was_running:
        message = f"It ended with exit code {trial.exit_code} before it had asked a slow target, so this could not be seen."
        raise _Finding(message, "See the other checks first.", Outcome.NOT_JUDGED)


CHECKS: Mapping[str, Callable[[Trials], str]] = {
    "starts": starts,
    "reads_order": reads_order,
    "first_line": first_line,
    "lines": lines,
    "uses_guard": uses_guard,
    "keeps_rules": keeps_rules,
    "coverage": coverage,
    "exit_code": exit_code,
    "unknown_fields": unknown_fields,
    "target_down": target_down,
    "budget": budget,
    "invalid_order": invalid_order,
    "termination": termination,
    "input_end": input_end,
}
