from __future__ import annotations

from itertools import product

import pytest

from apviso.protocol.scan_events import FindingLook
from apviso.protocol.states import RetestOutcome, UserStatus
from apviso.server.scans.retest import Retested, outcome_of, status_after

WHOLE = FindingLook(finding_id="f", complete=True)
PART = FindingLook(finding_id="f", complete=False, reason="It leads to a login.")
FIXED, STILL_OPEN, COULD_NOT_CHECK = RetestOutcome.FIXED, RetestOutcome.STILL_OPEN, RetestOutcome.COULD_NOT_CHECK
EVERYTHING = list(product((True, False), (True, False), (WHOLE, PART, None), ("now", "before", "never")))


@pytest.mark.parametrize(("has_completed", "is_complete", "look", "seen"), EVERYTHING)
def test_outcome_in_every_situation_is_fixed_in_one_alone(
    has_completed: bool, is_complete: bool, look: FindingLook | None, seen: str
) -> None:
    expected = STILL_OPEN if seen == "before" else COULD_NOT_CHECK
    if seen == "now":
        expected = STILL_OPEN
    elif (has_completed, is_complete, look) == (True, True, WHOLE):
        expected = FIXED

    ended = Retested(has_completed, is_complete)
    outcome, reason = outcome_of(ended, look, was_seen=seen == "now", was_seen_before=seen == "before")

    assert outcome is expected
    assert reason


def test_outcome_that_could_not_be_checked_gives_the_reason_of_the_look() -> None:
    assert outcome_of(Retested(True, True), PART, was_seen=False)[1] == "It leads to a login."


@pytest.mark.parametrize(
    ("outcome", "before", "after"),
    [
        (FIXED, "open", "fixed"),
        (FIXED, "in_progress", "fixed"),
        (FIXED, "accepted_risk", "fixed"),
        (FIXED, "fixed", "fixed"),
        (FIXED, "false_positive", "false_positive"),
        (STILL_OPEN, "fixed", "open"),
        *((STILL_OPEN, status, status) for status in UserStatus if status is not UserStatus.FIXED),
        *((COULD_NOT_CHECK, status, status) for status in UserStatus),
    ],
)
def test_status_after_a_retest_follows_from_its_outcome(outcome: RetestOutcome, before: str, after: str) -> None:
    assert status_after(outcome, UserStatus(before)) == after
