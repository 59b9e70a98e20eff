"""Findings, for people: of one scan, of the organization, and their status."""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Literal

from fastapi import APIRouter, Body, Depends, Query
from fastapi.responses import Response
from pydantic import Field

from apviso.protocol.findings import (
    FindingAnswer,
    FindingHistory,
    FindingList,
    FindingLooks,
    FindingStatusPatch,
    FindingTrend,
    RetestAnswer,
    RetestCounts,
    RetestResult,
)
from apviso.protocol.states import HistoryCause, Severity, UserStatus
from apviso.protocol.wire import Instant, OrganizationId, format_instant
from apviso.server.access import FindingsReader, FindingsWriter
from apviso.server.audit import store as audit
from apviso.server.db import over_time, retests, triage
from apviso.server.db.engine import Work
from apviso.server.errors import (
    BodyTooLarge,
    CredentialInvalid,
    CredentialMissing,
    FindingNotFound,
    InsufficientScope,
    InvalidFields,
    MalformedJson,
    RateLimited,
    ScanNotFound,
    WrongCredential,
    field_refused,
    responses,
)
from apviso.server.findings import export, store
from apviso.server.findings.triage import end_of_risk
from apviso.server.paging import Paged, Scrolled
from apviso.server.resources import Reading, Writing
from apviso.server.scans import retesting
from apviso.server.scans import store as scans
from apviso.server.scans.facts import ScanFacts
from apviso.server.stream import store as stream

DENIED = (CredentialMissing, CredentialInvalid, WrongCredential, InsufficientScope, InvalidFields, RateLimited)
router = APIRouter(prefix="/api/v1", tags=["findings"])
# Values of one filter.
MAX_VALUES = 100
CweNumber = Annotated[int, Field(ge=1, le=99_999)]

SeverityFilter = Annotated[Severity | None, Query()]
UserStatusFilter = Annotated[UserStatus | None, Query(alias="userStatus")]


@router.get("/scans/{id}/findings", responses=responses(*DENIED, ScanNotFound))
async def list_scan_findings(
    id: str, caller: FindingsReader, work: Reading, page: Scrolled, severity: SeverityFilter = None, user_status: UserStatusFilter = None
) -> FindingList:
    """What the scan's current attempt found, worst first."""
    scan = await scans.get(work, caller.organization_id, id)
    found, total = await store.list_of_scan(work, scan, severity, user_status, page)
    shown, after = page.cut(found, store.cursor_in_scan)
    return FindingList(findings=shown, next_cursor=after, **page.counted(total))


Texts = Annotated[list[Annotated[str, Field(max_length=500)]], Field(max_length=MAX_VALUES)]


def _wanted(
    severity: Annotated[list[Severity], Query()] = [],  # noqa: B006  # FastAPI copies it
    user_status: Annotated[list[UserStatus], Query(alias="userStatus")] = [],  # noqa: B006
    target_id: Annotated[Texts, Query(alias="targetId")] = [],  # noqa: B006
    cwe_id: Annotated[list[CweNumber], Query(alias="cweId", max_length=MAX_VALUES)] = [],  # noqa: B006
    detector: Annotated[Texts, Query()] = [],  # noqa: B006
    first_seen_since: Annotated[Instant | None, Query(alias="firstSeenSince")] = None,
    last_seen_since: Annotated[Instant | None, Query(alias="lastSeenSince")] = None,
    q: Annotated[str | None, Query(max_length=200, description="Looked for in title and address, in any case.")] = None,
    sort: Annotated[store.Sort, Query(description="With `-`: the worst, or the latest, first.")] = store.BY_ITSELF,
) -> store.Wanted:
    return store.Wanted(severity, user_status, target_id, cwe_id, detector, first_seen_since, last_seen_since, q, sort)


AskedFor = Annotated[store.Wanted, Depends(_wanted)]


@router.get(
    "/findings",
    response_model=FindingList,
    responses={
        200: {"content": {"text/csv": {"schema": {"type": "string"}, "example": "id,targetId,scanId,severity\r\n"}}},
        **responses(*DENIED),
    },
)
async def list_findings(
    caller: FindingsReader,
    work: Reading,
    page: Scrolled,
    wanted: AskedFor,
    format: Annotated[Literal["json", "csv"], Query()] = "json",
) -> FindingList | Response:
    """The organization's findings over all scans; `scanId` is the scan that saw it last. A filter that is repeated takes each value.

    With `format=csv` all that match come as one table, at most 10,000; where more do, it is refused. `cursor` goes by the order in which
    the list comes by itself.
    """
    if page.cursor is not None and wanted.sort != store.BY_ITSELF:
        raise field_refused("cursor", f"goes with sort={store.BY_ITSELF} alone; take page and limit for another order")
    total = await store.count(work, caller.organization_id, wanted)
    if format == "csv":
        return await _table(work, caller.organization_id, wanted, total)
    found = await store.list_all(work, caller.organization_id, wanted, page)
    shown, after = page.cut(found, store.cursor_in_all)
    return FindingList(findings=shown, next_cursor=after if wanted.sort == store.BY_ITSELF else None, **page.counted(total))


async def _table(work: Work, organization_id: OrganizationId, wanted: store.Wanted, total: int) -> Response:
    if total > export.MAX_ROWS:
        raise field_refused("format", f"csv takes at most {export.MAX_ROWS} findings, and {total} match: narrow the filters")
    parts = [export.heading()]
    async for some in store.read_all(work, organization_id, wanted):
        parts.append(export.rows(some))
    name = f"findings-{work.now:%Y-%m-%d}.csv"
    headers = {"content-disposition": f'attachment; filename="{name}"', "cache-control": "no-store"}
    return Response("".join(parts), media_type="text/csv; charset=utf-8", headers=headers)


@router.get("/scans/{id}/retest", responses=responses(*DENIED, ScanNotFound))
async def get_retest_results(id: str, caller: FindingsReader, work: Reading) -> RetestAnswer:
    """What a retest says of each of its findings; outcomes are null until it has ended, and a scan that is no retest has none."""
    scan = await scans.get(work, caller.organization_id, id)
    return await _retested(work, scan)


async def _retested(work: Work, scan: ScanFacts) -> RetestAnswer:
    decided = await retests.list_results(work, scan.id)
    results = [
        RetestResult(
            finding_id=one.id,
            title=one.title,
            severity=one.severity,
            user_status=one.user_status,
            outcome=decided[one.id][0] if one.id in decided else None,
            reason=decided[one.id][1] if one.id in decided else "",
        )
        for one in await retesting.list_findings(work, scan)
    ]
    counted = Counter(str(outcome) for outcome, _ in decided.values())
    return RetestAnswer(results=results, counts=RetestCounts(**counted))


@router.get("/findings/trend", responses=responses(*DENIED))
async def get_finding_trend(caller: FindingsReader, work: Reading) -> FindingTrend:
    """How many flaws were seen for the first time on each of the last 30 days of UTC, by severity."""
    return FindingTrend(days=await over_time.count_new(work, caller.organization_id, over_time.first_day(work.now)))


@router.get("/findings/{id}", responses=responses(*DENIED, FindingNotFound))
async def get_finding(id: str, caller: FindingsReader, work: Reading) -> FindingAnswer:
    """One finding."""
    return FindingAnswer(finding=await store.get(work, caller.organization_id, id))


@router.get("/findings/{id}/history", responses=responses(*DENIED, FindingNotFound))
async def get_finding_history(id: str, caller: FindingsReader, work: Reading, page: Paged) -> FindingHistory:
    """What became of a finding, newest first: who or what changed its status, and what retests saw."""
    finding = await store.get(work, caller.organization_id, id)
    history, total = await store.list_history(work, finding.id, page)
    return FindingHistory(history=history, **page.counted(total))


@router.get("/findings/{id}/looks", responses=responses(*DENIED, FindingNotFound))
async def get_finding_looks(id: str, caller: FindingsReader, work: Reading) -> FindingLooks:
    """The latest 30 ended scans of the finding's target since it was first seen: whether each has seen it, and whether it could look."""
    finding = await store.get(work, caller.organization_id, id)
    return FindingLooks(looks=await over_time.list_looks(work, finding))


@router.patch("/findings/{id}/status", responses=responses(*DENIED, FindingNotFound, MalformedJson, BodyTooLarge))
async def set_finding_status(
    id: str,
    patch: Annotated[FindingStatusPatch, Body(examples=[{"userStatus": "accepted_risk", "note": "behind VPN only"}])],
    caller: FindingsWriter,
    work: Writing,
) -> FindingAnswer:
    """Say what becomes of a finding; who said so, when and why is in its history and in the audit trail.

    An accepted risk may have an end, `until`: from then on it is open again.
    """
    until = end_of_risk(patch, work.now)
    before = await store.get_locked(work, caller.organization_id, id)
    await triage.set_status(work, caller.organization_id, [before.id], patch.user_status, until)
    change = triage.Change(before.id, before.user_status, patch.user_status, HistoryCause.PERSON, caller.actor, patch.note, until)
    await triage.write_history(work, [change])
    details = {"from": before.user_status, "to": patch.user_status, "note": patch.note}
    if until is not None:
        details["until"] = format_instant(until)
    subject = ("finding", before.id)
    await audit.record(work, caller.organization_id, caller.actor, "finding.status_changed", subject, caller.request_id, **details)
    stream.publish(work, caller.organization_id, "finding.status_changed", findingId=before.id, userStatus=patch.user_status)
    return FindingAnswer(finding=await store.get(work, caller.organization_id, id))
