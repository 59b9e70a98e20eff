"""Findings, over all scans of an organization. Each method is one line that says which call it is."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TypedDict, Unpack

from apviso.client.calls import Call, change, download, get, segment
from apviso.client.endpoints import Each, Endpoint, Resource, Way
from apviso.client.listing import Listing, listing
from apviso.protocol.findings import (
    Finding,
    FindingAnswer,
    FindingHistory,
    FindingList,
    FindingLooks,
    FindingStatusPatch,
    FindingTrend,
    StatusChange,
)
from apviso.protocol.states import Severity, UserStatus


class Filters(TypedDict, total=False):
    """Which findings; a list takes those of each of its values. `q` is looked for in title and address."""

    severity: Severity | Sequence[Severity] | None
    user_status: UserStatus | Sequence[UserStatus] | None
    target_id: str | Sequence[str] | None
    cwe_id: int | Sequence[int] | None
    detector: str | Sequence[str] | None
    first_seen_since: datetime | None
    last_seen_since: datetime | None
    q: str | None


class Findings(Resource[Way]):
    @Endpoint
    def page(self, page: int = 1, limit: int = 50, *, sort: str | None = None, **filters: Unpack[Filters]) -> Call[FindingList]:
        """`sort` is `severity`, `firstSeen` or `lastSeen`, with `-` for the worst or latest first."""
        return get("/findings", FindingList, page=page, limit=limit, sort=sort, **filters)

    @Each
    def all(self, **filters: Unpack[Filters]) -> Listing[FindingList, Finding]:
        """Over all scans, worst first."""
        return listing("/findings", FindingList, lambda answer: answer.findings, **filters)

    @Endpoint
    def table(self, **filters: Unpack[Filters]) -> Call[bytes]:
        """All that match as one CSV file. Raises InvalidRequest for more than 10,000."""
        return download("/findings", "text/csv", format="csv", **filters)

    @Endpoint
    def trend(self) -> Call[FindingTrend]:
        """How many were new on each of the last 30 days."""
        return get("/findings/trend", FindingTrend)

    @Endpoint
    def get(self, finding_id: str) -> Call[Finding]:
        return get(_of_finding(finding_id), FindingAnswer).then(lambda answer: answer.finding)

    @Each
    def history(self, finding_id: str) -> Listing[FindingHistory, StatusChange]:
        """What became of it, newest first."""
        return listing(f"{_of_finding(finding_id)}/history", FindingHistory, lambda answer: answer.history)

    @Endpoint
    def history_page(self, finding_id: str, page: int = 1, limit: int = 50) -> Call[FindingHistory]:
        return get(f"{_of_finding(finding_id)}/history", FindingHistory, page=page, limit=limit)

    @Endpoint
    def looks(self, finding_id: str) -> Call[FindingLooks]:
        """Which scans of its target have seen it since, newest first."""
        return get(f"{_of_finding(finding_id)}/looks", FindingLooks)

    @Endpoint
    def set_status(self, finding_id: str, patch: FindingStatusPatch) -> Call[Finding]:
        return change(f"{_of_finding(finding_id)}/status", patch, FindingAnswer).then(lambda answer: answer.finding)


def _of_finding(finding_id: str) -> str:
    return f"/findings/{segment(finding_id)}"
