"""The Markdown report: text of the scanned site stays text, and only a complete scan without findings is clean."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from apviso.protocol.scan_events import Coverage
from apviso.protocol.scans import Scan
from apviso.protocol.states import ModelPreset, ScanStatus, Visibility
from apviso.server.findings.report import fenced, plain, summary, verdict
from tests.unit.known import NOW

_TEXT = st.text(max_size=200)


def scan(status: ScanStatus, coverage: Coverage | None) -> Scan:
    return Scan.model_validate(
        {
            "id": "scan-1", "target_id": "target-1", "status": status, "status_reason": None, "end_reason": None, "runner_id": None,
            "attempt": 1, "target_visibility": Visibility.LOCALHOST, "scan_image_digest": None, "model_preset": ModelPreset.LOW,
            "is_retest": False, "parent_scan_id": None, "progress": {}, "coverage": coverage, "finding_counts": {}, "waiting_for": None,
            "created_at": NOW, "started_at": None, "finished_at": None,
        }
    )  # fmt: skip


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
    ended = scan(status, coverage)

    assert verdict(ended) == expected
    assert summary(ended, [])["clean"] is (expected == "complete")


@given(text=_TEXT)
@example("<script>")
@example("](http://x)\n# a")
def test_plain_text_is_one_line_in_which_every_mark_is_escaped(text: str) -> None:
    shown = plain(text)

    assert "\n" not in shown
    assert not re.search(r"(?<!\\)(?:\\\\)*[`*_{}\[\]()<>#+\-.!|~&$:@/]", shown)


@given(text=_TEXT)
def test_plain_text_of_ordinary_characters_reads_the_same(text: str) -> None:
    visible = "".join(sign for sign in text if sign.isalnum() or sign in "<*`[]#")

    assert re.sub(r"\\(.)", r"\1", plain(visible)) == visible


@given(text=_TEXT)
@example("```\n# out")
@example("`````")
def test_fenced_text_cannot_close_its_fence(text: str) -> None:
    first, *inner, last = fenced(text).split("\n")

    fence = first.removesuffix("text")
    assert set(fence) == {"`"}
    assert last == fence
    assert all(len(line) - len(line.lstrip("`")) < len(fence) or line.strip("`") for line in inner)


@pytest.mark.parametrize("text", ["a\x1bb", "a\u202eb", "a\x00b", "a\u2066b", "a\x9bb"])
def test_control_characters_are_shown_as_numbers(text: str) -> None:
    assert text[1] not in plain(text)
    assert text[1] not in fenced(text)
    assert f"{ord(text[1]):04x}" in plain(text)
