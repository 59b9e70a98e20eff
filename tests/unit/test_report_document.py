"""What a report says: how far the scan looked, what has changed since the scan before, and what had no room."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from apviso.protocol.scan_events import Coverage
from apviso.protocol.states import ModelPreset, ScanStatus
from apviso.server.reports.comparison import Previous, compare
from apviso.server.reports.document import TEXT_ROOM, build, summary
from apviso.server.reports.formats import WRITERS, Format, not_made, written
from apviso.server.reports.retries import MOST_TRIES, delay_after
from apviso.server.reports.wording import verdict_of
from tests.unit.known import NOW
from tests.unit.reported import TARGET, document, finding, previous, retest, scan


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


def test_finding_that_a_retest_found_fixed_is_gone_and_the_others_are_not() -> None:
    compared = document(findings=[], before=previous(finding("fixed"), finding("elsewhere")), retested=retest()).comparison

    assert compared is not None
    assert {one.id: one.fate for one in compared.past} == {"fixed": "gone", "elsewhere": "not_seen"}
    assert (compared.gone, compared.not_seen) == (1, 1)


def test_retest_tells_each_of_its_findings_with_the_reason_and_is_never_clean() -> None:
    report = document(findings=[], retested=retest())

    assert report.retest is not None
    assert [(one.id, one.outcome, one.reason) for one in report.retest.results] == [
        (name, name, f"{name}, because harmless") for name in ("still_open", "could_not_check", "fixed")
    ]
    assert summary(report)["retest"] == {"fixed": 1, "stillOpen": 1, "couldNotCheck": 1}
    assert (report.verdict, report.clean) == ("complete", False)
    assert report.headline == "The retest looked for each of its findings, and for nothing else."
    assert "Everything but the findings that were to be tested again." in report.coverage.not_looked_at


def test_format_that_cannot_be_made_costs_no_other() -> None:
    def broken(_: object) -> str:
        raise ValueError("<script>")

    made = written(document(), {**WRITERS, Format.HTML: broken, Format.JSON: broken})

    assert set(made.files) == {Format.MARKDOWN, Format.SARIF, Format.CSV}
    assert not_made(made.failures) == {
        "html": "It could not be written (ValueError); the server's log has it.",
        "json": "It could not be written (ValueError); the server's log has it.",
        "pdf": "It is made from the JSON, which could not be written.",
    }


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


def test_report_that_failed_is_left_alone_for_longer_each_time() -> None:
    waits = [delay_after(failures) for failures in range(MOST_TRIES)]

    assert waits == [timedelta(minutes=minutes) for minutes in (1, 1, 5, 25, 125)]
