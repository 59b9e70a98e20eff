"""Findings, over all scans of an organization. Each method is one line that says which call it is."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from apviso.client.calls import Call, change, download, get, query_of, segment
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
)
from apviso.protocol.states import Severity, UserStatus

Severities = Severity | Sequence[Severity] | None
UserStatuses = UserStatus | Sequence[UserStatus] | None


class Findings(Resource[Way]):
    """`text` is looked for in title and address; `sort` is a name as in the API, with `-` for the worst or the latest first."""

    @Endpoint
    def page(
        self,
        page: int = 1,
        limit: int = 50,
        *,
        severity: Severities = None,
        user_status: UserStatuses = None,
        target_id: str | None = None,
        first_seen_since: datetime | None = None,
        text: str | None = None,
        sort: str | None = None,
    ) -> Call[FindingList]:
        return get(
            "/findings",
            FindingList,
            page=page,
            limit=limit,
            severity=severity,
            user_status=user_status,
            target_id=target_id,
            first_seen_since=first_seen_since,
            q=text,
            sort=sort,
        )

    @Each
    def all(
        self, *, severity: Severities = None, user_status: UserStatuses = None, target_id: str | None = None, text: str | None = None
    ) -> Listing[FindingList, Finding]:
        """Over all scans, worst first."""
        wanted = {"severity": severity, "user_status": user_status, "target_id": target_id, "q": text}
        return listing("/findings", FindingList, lambda answer: answer.findings, **wanted)

    @Endpoint
    def table(
        self, *, severity: Severities = None, user_status: UserStatuses = None, target_id: str | None = None, text: str | None = None
    ) -> Call[bytes]:
        """All that match, as one table for spreadsheets (CSV). Raises InvalidRequest for more than 10,000."""
        wanted = {"severity": severity, "user_status": user_status, "target_id": target_id, "q": text, "format": "csv"}
        return download("/findings", "text/csv", query_of(wanted))

    @Endpoint
    def trend(self) -> Call[FindingTrend]:
        """How many were new on each of the last 30 days."""
        return get("/findings/trend", FindingTrend)

    @Endpoint
    def get(self, finding_id: str) -> Call[Finding]:
        return get(_of_finding(finding_id), FindingAnswer).then(lambda answer: answer.finding)

    @Endpoint
    def history(self, finding_id: str, page: int = 1, limit: int = 50) -> Call[FindingHistory]:
        """Who or what changed its status, newest first."""
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
