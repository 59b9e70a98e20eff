"""What a report says: how far the scan looked, what has changed since the scan before, and what had no room."""

from __future__ import annotations

from typing import Any

import pytest

from apviso.protocol.scan_events import Coverage
from apviso.protocol.states import ModelPreset, ScanStatus
from apviso.server.reports.comparison import Previous, compare
from apviso.server.reports.document import TEXT_ROOM, build, summary
from apviso.server.reports.wording import verdict_of
from tests.unit.known import NOW
from tests.unit.reported import TARGET, document, finding, previous, scan


@pytest.mark.parametrize(
    ("status", "coverage", "expected"),
    [
        (ScanStatus.COMPLETED, Coverage(complete=True), "complete"),
        (ScanStatus.COMPLETED, Coverage(complete=False, reasons=["budget_spent"]), "partial"),
        (ScanStatus.COMPLETED, None, "partial"),
        (ScanStatus.FAILED, Coverage(complete=True), "failed"),
        (ScanStatus.CANCELLED, Coverage(complete=True), "cancelled"),
        (ScanStatus.PREFLIGHT_FAILED, None, "preflight_failed"),
    ],
)
def test_verdict_is_complete_only_where_everything_was_looked_at(status: ScanStatus, coverage: Coverage | None, expected: str) -> None:
    ended = scan(status=status, coverage=coverage)

    report = build(ended, TARGET, [], None, NOW, "test")

    assert verdict_of(ended) == report.verdict == expected
    assert report.clean is (expected == "complete")
    assert report.coverage.complete is (expected == "complete")
    assert summary(report)["clean"] is report.clean


def test_report_names_logic_flaws_and_excluded_paths_as_not_looked_at() -> None:
    told = " ".join(document().coverage.not_looked_at)

    assert "Logic flaws" in told
    assert "logout" in told


def test_comparison_with_the_scan_before_names_new_still_there_and_gone() -> None:
    kept, new, gone = finding("kept"), finding("new"), finding("gone")

    report = document(findings=[kept, new], before=previous(kept, gone))

    assert [one.since_previous for one in report.findings] == ["still_there", "new"]
    assert report.comparison is not None
    assert [(one.id, one.fate) for one in report.comparison.past] == [("gone", "gone")]
    assert summary(report)["comparison"] == {"previousScanId": "scan-0", "new": 1, "stillThere": 1, "gone": 1, "notSeen": 0}
    assert report.comparison.caveats == []


@pytest.mark.parametrize(
    ("values", "before", "is_whole"),
    [
        ({"coverage": Coverage(complete=False)}, previous(finding()), True),
        ({"status": ScanStatus.FAILED}, previous(finding()), True),
        ({"model_preset": ModelPreset.FREE}, previous(finding(), preset=ModelPreset.HIGH), True),
        ({"is_retest": True}, previous(finding()), True),
        ({}, previous(finding()), False),
    ],
)
def test_finding_that_may_not_have_been_looked_for_is_not_called_gone(values: dict[str, Any], before: Previous, is_whole: bool) -> None:
    compared = compare(scan(**values), [], before, is_whole=is_whole)

    assert (compared.gone, compared.not_seen) == (0, 1)
    assert [one.fate for one in compared.past] == ["not_seen"]
    assert compared.caveats != []


@pytest.mark.parametrize("before", [previous(is_complete=False), previous(preset=ModelPreset.FREE), previous(is_whole=False)])
def test_finding_that_the_scan_before_may_have_missed_is_new_with_a_caveat(before: Previous) -> None:
    compared = compare(scan(), [finding()], before, is_whole=True)

    assert compared.new == 1
    assert compared.caveats == ["The scan before looked at less, so what is new here may have been there already."]


def test_first_scan_of_a_target_is_compared_with_nothing() -> None:
    report = build(scan(), TARGET, [], None, NOW, "test")

    assert report.comparison is None
    assert report.summary[-1] == "There is no earlier scan of this target to compare with."


def test_texts_beyond_the_room_are_left_out_of_the_least_severe() -> None:
    long = "x" * 16_000
    found = [finding(str(number), evidence=long) for number in range(TEXT_ROOM // len(long) + 2)]

    shown = document(findings=found).findings

    assert not shown[0].is_shortened
    assert (shown[-1].is_shortened, shown[-1].evidence, shown[-1].title) == (True, "", "harmless")
    assert sum(len(one.evidence) for one in shown) <= TEXT_ROOM


def test_findings_that_are_not_listed_are_counted() -> None:
    ended = scan(finding_counts={"low": 1_200})

    report = build(ended, TARGET, [finding()], None, NOW, "test")

    assert report.findings_left_out == 1_199
    assert report.finding_counts.low == 1_200
