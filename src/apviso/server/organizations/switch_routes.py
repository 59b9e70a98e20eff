"""The organization itself, for administrators: its name, and whether control of its targets must be proved."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Body

from apviso.protocol.verification import Organization, OrganizationAnswer, OrganizationPatch
from apviso.server.access import Administrator
from apviso.server.audit import store as audit
from apviso.server.errors import (
    BodyTooLarge,
    CredentialInvalid,
    CredentialMissing,
    InsufficientScope,
    InvalidFields,
    MalformedJson,
    RateLimited,
    WrongCredential,
    responses,
)
from apviso.server.organizations import store
from apviso.server.resources import Reading, Writing
from apviso.server.signals import jobs_topic, stream_topic

router = APIRouter(prefix="/api/v1/organization", tags=["administration"])
DENIED = (CredentialMissing, CredentialInvalid, WrongCredential, InsufficientScope, RateLimited)


@router.get("", responses=responses(*DENIED))
async def get_organization(caller: Administrator, work: Reading) -> OrganizationAnswer:
    """The organization of the calling key."""
    return _answer(await store.get(work, caller.organization_id))


@router.patch("", responses=responses(*DENIED, MalformedJson, BodyTooLarge, InvalidFields))
async def edit_organization(
    patch: Annotated[OrganizationPatch, Body(examples=[{"requiresVerification": True}])], caller: Administrator, work: Writing
) -> OrganizationAnswer:
    """Switch the proof of control of public and staging targets on or off. Each change is in the audit trail, with who made it."""
    wanted = patch.requires_verification
    if wanted is not None and await store.set_requires_verification(work, caller.organization_id, wanted):
        action, subject = "organization.verification_changed", ("organization", caller.organization_id)
        await audit.record(work, caller.organization_id, caller.actor, action, subject, caller.request_id, requiresVerification=wanted)
        work.hints.update((jobs_topic(caller.organization_id), stream_topic(caller.organization_id)))
    return _answer(await store.get(work, caller.organization_id))


def _answer(known: store.Organization) -> OrganizationAnswer:
    shown = Organization(id=known.id, name=known.name, requires_verification=known.requires_verification)
    return OrganizationAnswer(organization=shown)
