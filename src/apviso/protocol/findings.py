"""Findings: as a scan reports them and as people see them."""

from __future__ import annotations

import re
from datetime import date
from typing import Annotated

from pydantic import BeforeValidator, Field

from apviso.protocol.states import HistoryCause, RetestOutcome, ScanStatus, Severity, UserStatus
from apviso.protocol.wire import FindingId, Instant, Note, ScanId, TargetId, Text, Wire, cut_to

# As many as a retest may look at again; more are another retest.
MAX_RETESTED = 500
Long = Annotated[Text, Field(max_length=16_000), cut_to(16_000)]
Short = Annotated[Text, Field(max_length=500)]


def _bare_number(value: object) -> object:
    """`CWE-79` as many tools write it, for 79."""
    return value[4:] if isinstance(value, str) and value[:4].upper() == "CWE-" else value


# Versions 2 to 4, by their letters: a field that is free text could carry anything out.
_METRIC = r"[A-Z][A-Za-z]{0,2}:(?:[A-Z]{1,3}|Clear|Green|Amber|Red)"
_VECTOR = re.compile(rf"(?:CVSS:[34]\.[0-9]/)?{_METRIC}(?:/{_METRIC})*")


def _vector_or_none(value: object) -> object:
    """A vector that is none is left out: the flaw is real all the same."""
    return value if not isinstance(value, str) or (len(value) <= 500 and _VECTOR.fullmatch(value)) else None


class ReportedFinding(Wire):
    """One flaw, as the scan event stream carries it. The fingerprint is the server's to compute."""

    title: Annotated[Text, Field(min_length=1, max_length=300)]
    severity: Severity
    cvss_score: Annotated[float, Field(ge=0, le=10)] | None = None
    cvss_vector: Annotated[Short | None, BeforeValidator(_vector_or_none)] = None
    cwe_id: Annotated[int, Field(ge=1, le=99_999), BeforeValidator(_bare_number)] | None = None
    description: Long = ""
    evidence: Long = ""
    reproduction: Annotated[list[Long], Field(max_length=20)] = []
    remediation: Long = ""
    url: Annotated[Text, Field(max_length=4000)] = ""
    method: Short = "GET"
    parameter: Short | None = None
    detectors: Annotated[list[Short], Field(max_length=20)] = []


class Finding(Wire):
    id: FindingId
    scan_id: ScanId
    fingerprint: str
    title: str
    severity: Severity
    cvss_score: float | None
    cvss_vector: str | None
    cwe_id: int | None
    description: str
    evidence: str
    reproduction: list[str]
    remediation: str
    url: str
    method: str
    parameter: str | None
    detectors: list[str]
    user_status: UserStatus
    first_seen_at: Instant
    last_seen_at: Instant
    target_id: TargetId | None = None
    accepted_until: Instant | None = None


class FindingAnswer(Wire):
    finding: Finding


class FindingList(Wire):
    findings: list[Finding]
    total: int
    page: int
    limit: int
    total_pages: int
    next_cursor: str | None = None


class FindingStatusPatch(Wire):
    """`until` ends an accepted risk: from then on the finding is open again."""

    user_status: UserStatus
    note: Note | None = None
    until: Instant | None = None


class StatusChange(Wire):
    """One entry of a finding's history. Where nothing changed, `from` and `to` are the same and `note` says what was seen."""

    at: Instant
    actor: str
    cause: HistoryCause
    from_status: UserStatus = Field(alias="from")
    to_status: UserStatus = Field(alias="to")
    note: str | None
    until: Instant | None
    scan_id: ScanId | None


class FindingHistory(Wire):
    history: list[StatusChange]
    total: int
    page: int
    limit: int
    total_pages: int


class Look(Wire):
    """One ended scan of the finding's target. Where it is not `complete`, that it has not `seen` the finding says nothing."""

    scan_id: ScanId
    ended_at: Instant
    status: ScanStatus
    is_retest: bool
    complete: bool
    seen: bool


class FindingLooks(Wire):
    """Newest first."""

    looks: list[Look]


class RetestResult(Wire):
    """`outcome` is null until the retest has ended; `reason` is one sentence."""

    finding_id: FindingId
    title: str
    severity: Severity
    user_status: UserStatus
    outcome: RetestOutcome | None
    reason: str


class RetestCounts(Wire):
    fixed: int = 0
    still_open: int = 0
    could_not_check: int = 0


class RetestAnswer(Wire):
    """What a retest says of each of its findings; empty for a scan that is none."""

    results: list[RetestResult]
    counts: RetestCounts


class FindingCounts(Wire):
    critical: int = 0
    high: int = 0
    medium: int = 0
    low: int = 0
    info: int = 0


class DayOfFindings(Wire):
    """How many flaws were seen for the first time on `day`, which is one of UTC."""

    day: date
    counts: FindingCounts


class FindingTrend(Wire):
    """Oldest first; the last day is today. A day without any is there, too."""

    days: list[DayOfFindings]
