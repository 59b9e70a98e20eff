"""What a log says of what is missing in it."""

from __future__ import annotations

from typing import Any

import pytest

from apviso.protocol.scan_events import MissingCause
from apviso.server.scans.gaps import MOST_GAPS, gaps_of, with_more
from tests.unit.known import NOW, attempt


@pytest.mark.parametrize(
    ("differences", "cause"),
    [
        ({}, None),
        ({"ended_at": NOW, "finish": {"endReason": "completed"}}, None),
        ({"ended_at": NOW}, MissingCause.RUNNER_LOST),
        ({"ended_at": NOW, "finish": {"endReason": "upload_incomplete"}}, MissingCause.UPLOAD_INCOMPLETE),
        ({"ended_at": NOW, "started_at": None}, None),
    ],
    ids=["goes on", "told its end", "ended without a word", "could not deliver", "never started"],
)
def test_end_of_a_log_is_missing_where_its_runner_has_not_told_it(differences: dict[str, Any], cause: MissingCause | None) -> None:
    known = attempt(last_seq=7, log_gaps=[{"seq": 3, "count": 12, "cause": "spool_full"}], **differences)

    gaps = [(gap.seq, gap.count, gap.cause) for gap in gaps_of(known)]

    assert gaps == [(3, 12, MissingCause.SPOOL_FULL), *([(8, None, cause)] if cause else [])]


def test_gaps_are_kept_up_to_a_bound() -> None:
    assert len(with_more([{}] * (MOST_GAPS - 1), [{}] * 5)) == MOST_GAPS
