"""Findings, for people: of one scan, of the organization, and their status."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Body, Query

from apviso.protocol.findings import FindingAnswer, FindingList, FindingStatusPatch
from apviso.protocol.states import Severity, UserStatus
from apviso.server.access import FindingsReader, FindingsWriter
from apviso.server.audit import store as audit
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
from apviso.server.findings import store
from apviso.server.paging import Paged
from apviso.server.resources import Reading, Writing
from apviso.server.scans import store as scans
from apviso.server.stream import store as stream

DENIED = (CredentialMissing, CredentialInvalid, WrongCredential, InsufficientScope, InvalidFields, RateLimited)
router = APIRouter(prefix="/api/v1", tags=["findings"])

SeverityFilter = Annotated[Severity | None, Query()]
UserStatusFilter = Annotated[UserStatus | None, Query(alias="userStatus")]


@router.get("/scans/{id}/findings", responses=responses(*DENIED, ScanNotFound))
async def list_scan_findings(
    id: str, caller: FindingsReader, work: Reading, page: Paged, severity: SeverityFilter = None, user_status: UserStatusFilter = None
) -> FindingList:
    """What the scan's current attempt found, worst first."""
    scan = await scans.get(work, caller.organization_id, id)
    found, total = await store.list_of_scan(work, scan, severity, user_status, page)
    return FindingList(findings=found, **page.counted(total))


@router.get("/findings", responses=responses(*DENIED))
async def list_findings(
    caller: FindingsReader,
    work: Reading,
    page: Paged,
    severity: SeverityFilter = None,
    user_status: UserStatusFilter = None,
    target_id: Annotated[str | None, Query(alias="targetId", max_length=64)] = None,
) -> FindingList:
    """The organization's findings over all scans, worst first; `scanId` is the scan that saw it last."""
    found, total = await store.list_all(work, caller.organization_id, severity, user_status, target_id, page)
    return FindingList(findings=found, **page.counted(total))


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
