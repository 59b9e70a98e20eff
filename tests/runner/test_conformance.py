"""What is made of trials that would take minutes to have: scans that hang, that are slow, that could not be looked at."""

from __future__ import annotations

import pytest

from apviso.protocol.scan_events import CoverageLine
from apviso.runner.conformance.checks import CHECKS, Outcome, judge_trials
from apviso.runner.conformance.hearing import Hearing
from apviso.runner.conformance.situations import Situation
from apviso.runner.conformance.trial import Trial
from apviso.runner.engines import Spoken, Swallowed
from apviso.scanning.guard import GuardCounters


def trial_in(situation: Situation, **changes: object) -> Trial:
    """A scan that went as it should have."""
    heard = Hearing(first_seconds=0.5, understood=3, said=CoverageLine(complete=True, pages=1))
    trial = Trial(situation, "/page/", heard, paths=["/page/"], counters=GuardCounters(requests=1), exit_code=0)
    endings = {Situation.TARGET_DOWN: 10, Situation.INVALID_ORDER: 30, Situation.TERMINATED: 143, Situation.INPUT_ENDS: 137}
    trial.exit_code = endings.get(situation, 0)
    for name, value in changes.items():
        setattr(trial, name, value)
    return trial


def outcomes(*changed: Trial) -> dict[str, Outcome]:
    """The checks that do not pass where these trials went otherwise than they should have."""
    trials = {situation: trial_in(situation) for situation in Situation} | {trial.situation: trial for trial in changed}
    return {check.code: check.outcome for check in judge_trials(trials) if check.outcome is not Outcome.PASSED}


def test_trials_that_went_well_pass_every_check() -> None:
    assert outcomes() == {}


@pytest.mark.parametrize(
    ("situation", "code"),
    [
        (Situation.ORDINARY, "exit_code"),
        (Situation.UNKNOWN_FIELDS, "unknown_fields"),
        (Situation.TARGET_DOWN, "target_down"),
        (Situation.SMALL_BUDGET, "budget"),
        (Situation.INVALID_ORDER, "invalid_order"),
        (Situation.INPUT_ENDS, "input_end"),
    ],
)
def test_scan_that_hangs_fails_the_check_of_its_situation(situation: Situation, code: str) -> None:
    assert outcomes(trial_in(situation, exit_code=None)) == {code: Outcome.FAILED}


def test_first_line_that_comes_late_fails_its_check() -> None:
    late = Hearing(first_seconds=31.0, understood=3, said=CoverageLine(complete=True, pages=1))

    assert outcomes(trial_in(Situation.ORDINARY, heard=late)) == {"first_line": Outcome.FAILED}


def test_target_down_with_partial_coverage_is_no_clean_look() -> None:
    partial = Hearing(first_seconds=0.5, understood=3, said=CoverageLine(complete=False, pages=1))

    assert outcomes(trial_in(Situation.TARGET_DOWN, exit_code=0, heard=partial)) == {}
    assert outcomes(trial_in(Situation.TARGET_DOWN, exit_code=0)) == {"target_down": Outcome.FAILED}


@pytest.mark.parametrize(("situation", "code"), [(Situation.TERMINATED, "termination"), (Situation.INPUT_ENDS, "input_end")])
def test_scan_that_had_ended_before_it_was_told_is_not_judged(situation: Situation, code: str) -> None:
    assert outcomes(trial_in(situation, was_running=False)) == {code: Outcome.NOT_JUDGED}


def test_scan_that_is_killed_by_its_own_hand_at_once_has_heeded_sigterm() -> None:
    assert outcomes(trial_in(Situation.TERMINATED, exit_code=137, reaction_seconds=0.2)) == {}
    assert outcomes(trial_in(Situation.TERMINATED, exit_code=137, reaction_seconds=5.2)) == {"termination": Outcome.FAILED}


def test_image_that_could_not_start_is_judged_by_that_alone() -> None:
    found = judge_trials({Situation.ORDINARY: Trial(Situation.ORDINARY, "/page/", cannot_start="no such program")})

    assert {check.code for check in found if check.outcome is Outcome.FAILED} == {"starts"}
    assert {check.code for check in found if check.outcome is Outcome.NOT_JUDGED} == set(CHECKS) - {"starts"}


def test_line_after_the_coverage_takes_its_place() -> None:
    heard = Hearing()

    heard.take(Spoken(b'{"type":"coverage","complete":true,"pages":1}'))
    was_last = heard.said
    heard.take(Spoken(b""))
    heard.take(Spoken(b"on standard error", error=True))
    after_silence = heard.said
    heard.take(Swallowed(70_000))

    assert was_last == after_silence == CoverageLine(complete=True, pages=1)
    assert (heard.said, heard.strange, heard.examples) == (None, 1, ["a line of 70000 bytes"])


def test_examples_of_strange_lines_are_few_and_safe_to_print() -> None:
    heard = Hearing()

    for number in range(50):
        heard.take(Spoken(b"\x1b[2J" + str(number).encode() + b"x" * 1000))

    assert heard.strange == 50
    assert len(heard.examples) == 3
    assert all(len(example) <= 120 and example.isprintable() for example in heard.examples)
