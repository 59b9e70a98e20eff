"""Writes findings as a table for spreadsheets. What a scanned site wrote stays text: no cell is taken for a formula. Pure."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable

from apviso.protocol.findings import Finding
from apviso.protocol.wire import format_instant

MAX_ROWS = 10_000
COLUMNS = (
    "id", "targetId", "scanId", "severity", "userStatus", "acceptedUntil", "title", "cweId", "cvssScore", "cvssVector", "method", "url",
    "parameter", "detectors", "firstSeenAt", "lastSeenAt", "fingerprint",
)  # fmt: skip
# Spreadsheets take a cell that begins so for a formula, also behind blanks, and in the wide forms of these signs.
_FORMULA = re.compile(r"\s*[=+\-@\t\r\n＝＋－＠]")


def heading() -> str:
    return _lines([COLUMNS])


def rows(findings: Iterable[Finding]) -> str:
    """The lines of these findings, in their order."""
    return _lines(_cells(finding) for finding in findings)


def _lines(table: Iterable[Iterable[str]]) -> str:
    written = io.StringIO()
    csv.writer(written, lineterminator="\r\n").writerows(table)
    return written.getvalue()


def _cells(finding: Finding) -> list[str]:
    told = finding.model_dump(mode="json", by_alias=True)
    told["detectors"] = ", ".join(finding.detectors)
    told["acceptedUntil"] = format_instant(finding.accepted_until) if finding.accepted_until else None
    return [as_text("" if told[name] is None else str(told[name])) for name in COLUMNS]


def as_text(cell: str) -> str:
    """An apostrophe at its beginning makes a cell text."""
    return f"'{cell}" if _FORMULA.match(cell) else cell
