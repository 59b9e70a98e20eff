"""Findings, for people: of one scan, of the organization, their status, and the report."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Body, Query
from fastapi.responses import JSONResponse

from apviso.protocol.findings import Finding, FindingAnswer, FindingList, FindingStatusPatch
from apviso.protocol.scans import Report, ReportAnswer, ReportPending
from apviso.protocol.states import Severity, UserStatus
from apviso.server.access import FindingsReader, FindingsWriter
from apviso.server.audit import store as audit
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
    responses,
)
from apviso.server.findings import report, store
from apviso.server.paging import MAX_LIMIT, Page, Scrolled
from apviso.server.resources import Plant, Reading, Writing
from apviso.server.scans import store as scans
from apviso.server.scans.facts import ScanFacts
from apviso.server.scans.view import progress, show
from apviso.server.stream import store as stream
from apviso.server.targets import store as targets

DENIED = (CredentialMissing, CredentialInvalid, WrongCredential, InsufficientScope, InvalidFields, RateLimited)
router = APIRouter(prefix="/api/v1", tags=["findings"])
# A report beyond this is read by nobody; the rest is told as a number and stays in the API.
MAX_REPORTED = 1_000

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


@router.get(
    "/scans/{id}/report",
    response_model=ReportAnswer,
    responses={202: {"model": ReportPending, "description": "The scan has not ended yet."}, **responses(*DENIED, ScanNotFound)},
)
async def get_scan_report(id: str, caller: FindingsReader, work: Reading, plant: Plant) -> ReportAnswer | JSONResponse:
    """The report of an ended scan; 202 with the progress until then."""
    scan = await scans.get(work, caller.organization_id, id)
    if not scan.is_final:
        pending = ReportPending(status=scan.status, progress=progress(scan))
        return JSONResponse(pending.model_dump(mode="json", by_alias=True), 202)
    shown = (await show(work, plant, [scan]))[0]
    target = targets.job_target(await targets.get(work, caller.organization_id, scan.target_id))
    findings = await _reported(work, scan)
    written = report.markdown(shown, target, findings, scan.finished_at or work.now)
    return ReportAnswer(
        report=Report(markdown_content=written, pdf_url=None, html_url=None, sarif_url=None, summary=report.summary(shown, findings))
    )


async def _reported(work: Work, scan: ScanFacts) -> list[Finding]:
    found: list[Finding] = []
    for number in range(1, MAX_REPORTED // MAX_LIMIT + 1):
        part, total = await store.list_of_scan(work, scan, None, None, Page(number, MAX_LIMIT))
        found += part
        if len(found) >= total:
            break
    return found


@router.get("/findings", responses=responses(*DENIED))
async def list_findings(
    caller: FindingsReader,
    work: Reading,
    page: Scrolled,
    severity: SeverityFilter = None,
    user_status: UserStatusFilter = None,
    target_id: Annotated[str | None, Query(alias="targetId", max_length=64)] = None,
) -> FindingList:
    """The organization's findings over all scans, worst first; `scanId` is the scan that saw it last."""
    found, total = await store.list_all(work, caller.organization_id, severity, user_status, target_id, page)
    shown, after = page.cut(found, store.cursor_in_all)
    return FindingList(findings=shown, next_cursor=after, **page.counted(total))


@router.get("/findings/{id}", responses=responses(*DENIED, FindingNotFound))
async def get_finding(id: str, caller: FindingsReader, work: Reading) -> FindingAnswer:
    """One finding."""
    return FindingAnswer(finding=await store.get(work, caller.organization_id, id))


@router.patch("/findings/{id}/status", responses=responses(*DENIED, FindingNotFound, MalformedJson, BodyTooLarge))
async def set_finding_status(
    id: str,
    patch: Annotated[FindingStatusPatch, Body(examples=[{"userStatus": "accepted_risk", "note": "behind VPN only"}])],
    caller: FindingsWriter,
    work: Writing,
) -> FindingAnswer:
    """Say what becomes of a finding; who said so, when and why is in the audit trail."""
    before = await store.get(work, caller.organization_id, id)
    await store.set_user_status(work, caller.organization_id, before.id, patch.user_status)
    details = {"from": before.user_status, "to": patch.user_status, "note": patch.note}
    subject = ("finding", before.id)
    await audit.record(work, caller.organization_id, caller.actor, "finding.status_changed", subject, caller.request_id, **details)
    stream.publish(work, caller.organization_id, "finding.status_changed", findingId=before.id, userStatus=patch.user_status)
    return FindingAnswer(finding=await store.get(work, caller.organization_id, id))
