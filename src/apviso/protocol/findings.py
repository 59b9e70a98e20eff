"""Findings: as a scan reports them and as people see them."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BeforeValidator, Field

from apviso.protocol.states import Severity, UserStatus
from apviso.protocol.wire import FindingId, Instant, Note, ScanId, Text, Wire, cut_to

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
    user_status: UserStatus
    note: Note | None = None


class FindingCounts(Wire):
    critical: int = 0
    high: int = 0
    medium: int = 0
    low: int = 0
    info: int = 0
