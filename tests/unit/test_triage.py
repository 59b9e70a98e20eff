from __future__ import annotations

import csv
import io
from datetime import UTC, datetime, timedelta

import pytest

from apviso.protocol.findings import FindingStatusPatch
from apviso.protocol.states import UserStatus
from apviso.server.errors import InvalidFields
from apviso.server.findings import export
from apviso.server.findings.triage import end_of_risk, news_of, status_when_seen
from apviso.server.openapi_examples import FINDING_SHOWN

NOW = datetime(2026, 5, 3, 9, 15, 32, tzinfo=UTC)


def test_end_of_a_risk_in_the_future_is_taken() -> None:
    until = NOW + timedelta(seconds=1)

    assert end_of_risk(FindingStatusPatch(user_status=UserStatus.ACCEPTED_RISK, until=until), NOW) == until
    assert end_of_risk(FindingStatusPatch(user_status=UserStatus.ACCEPTED_RISK), NOW) is None


@pytest.mark.parametrize(("status", "seconds"), [("accepted_risk", 0), ("accepted_risk", -1), ("open", 60), ("false_positive", 60)])
def test_end_of_a_risk_that_is_past_or_of_no_risk_is_refused(status: str, seconds: int) -> None:
    patch = FindingStatusPatch(user_status=UserStatus(status), until=NOW + timedelta(seconds=seconds))

    with pytest.raises(InvalidFields):
        end_of_risk(patch, NOW)


@pytest.mark.parametrize(
    ("before", "is_new", "news", "after"),
    [
        ("open", True, "finding.created", "open"),
        ("open", False, None, "open"),
        ("fixed", False, "finding.reopened", "open"),
        ("false_positive", False, None, "false_positive"),
        ("accepted_risk", False, None, "accepted_risk"),
        ("in_progress", False, None, "in_progress"),
    ],
)
def test_sighting_of_a_known_flaw_is_news_only_if_it_was_fixed(before: str, is_new: bool, news: str | None, after: str) -> None:
    assert news_of(UserStatus(before), is_new=is_new) == news
    assert status_when_seen(UserStatus(before)) == after


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t=", " =", "\r"])
def test_table_shows_what_looks_like_a_formula_as_text(start: str) -> None:
    hostile = FINDING_SHOWN.model_copy(update={"title": f"{start}cmd|' /C calc'!A0", "parameter": 'a"b\nc,d'})

    (row,) = csv.DictReader(io.StringIO(export.heading() + export.rows([hostile]), newline=""))

    assert row["title"] == f"'{start}cmd|' /C calc'!A0"
    assert (row["parameter"], row["severity"], row["acceptedUntil"]) == ('a"b\nc,d', "high", "")
