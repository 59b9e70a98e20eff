"""API keys, for administrators: issue, look, edit, revoke."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Body

from apviso.protocol.access import ApiKeyAnswer, ApiKeyList, ApiKeyPatch, IssuedApiKey, NewApiKey
from apviso.protocol.tokens import Namespace, new_token
from apviso.server.access import Administrator, Caller
from apviso.server.audit import store as audit
from apviso.server.db.engine import Work
from apviso.server.errors import (
    AlreadyIssued,
    ApiKeyNotFound,
    BodyTooLarge,
    CredentialInvalid,
    CredentialMissing,
    IdempotencyKeyReused,
    InsufficientScope,
    InvalidFields,
    LastAdminKey,
    MalformedJson,
    RateLimited,
    WrongCredential,
    responses,
)
from apviso.server.idempotency import Idempotent
from apviso.server.organizations import store
from apviso.server.organizations.keys import check_admin_remains, check_expiry, check_grant
from apviso.server.paging import Paged
from apviso.server.resources import Reading, Writing

router = APIRouter(prefix="/api/v1/api-keys", tags=["administration"])
DENIED = (CredentialMissing, CredentialInvalid, WrongCredential, InsufficientScope, RateLimited)
CHANGE = (*DENIED, MalformedJson, BodyTooLarge, InvalidFields)
NEW_EXAMPLE = {"name": "ci", "scopes": ["scans:*", "targets:read", "findings:read"]}


@router.post("", status_code=201, responses=responses(*CHANGE, AlreadyIssued, IdempotencyKeyReused))
async def create_api_key(
    wanted: Annotated[NewApiKey, Body(examples=[NEW_EXAMPLE])], caller: Administrator, work: Writing, once: Idempotent
) -> IssuedApiKey:
    """Issue an API key. It is shown here and never again."""

    async def issue() -> IssuedApiKey:
        check_grant(caller, wanted.scopes)
        check_expiry(wanted.expires_at, work.now)
        token = new_token(Namespace.API_KEY)
        scopes = list(dict.fromkeys(wanted.scopes))
        api_key = await store.add_key(work, caller.organization_id, token, wanted.name, scopes, wanted.expires_at)
        await _record(work, caller, "api_key.created", api_key.id, name=api_key.name, scopes=scopes)
        return IssuedApiKey(api_key=api_key, key=token.reveal())

    return await once.issue(issue)


@router.get("", responses=responses(*DENIED, InvalidFields))
async def list_api_keys(caller: Administrator, work: Reading, page: Paged) -> ApiKeyList:
    """Keys that are not revoked, newest first. The secrets are not kept."""
    keys, total = await store.list_keys(work, caller.organization_id, page)
    return ApiKeyList(api_keys=keys, **page.counted(total))


@router.get("/{id}", responses=responses(*DENIED, ApiKeyNotFound))
async def get_api_key(id: str, caller: Administrator, work: Reading) -> ApiKeyAnswer:
    """One key that is not revoked."""
    return ApiKeyAnswer(api_key=await store.get_key(work, caller.organization_id, id))


@router.patch("/{id}", responses=responses(*CHANGE, ApiKeyNotFound, LastAdminKey))
async def edit_api_key(
    id: str, patch: Annotated[ApiKeyPatch, Body(examples=[{"name": "nightly"}])], caller: Administrator, work: Writing
) -> ApiKeyAnswer:
    """Rename a key or change what it may do, from its next request on."""
    await store.lock(work, caller.organization_id)
    known = await store.get_key(work, caller.organization_id, id)
    if patch.scopes is not None:
        check_grant(caller, patch.scopes)
        check_admin_remains(await store.list_scopes(work, caller.organization_id), known.id, patch.scopes)
    values = patch.model_dump(exclude_none=True)
    if values:
        await store.edit_key(work, caller.organization_id, known.id, **values)
        await _record(work, caller, "api_key.edited", known.id, **values)
    return ApiKeyAnswer(api_key=await store.get_key(work, caller.organization_id, known.id))


@router.delete("/{id}", status_code=204, responses=responses(*DENIED, ApiKeyNotFound, LastAdminKey))
async def revoke_api_key(id: str, caller: Administrator, work: Writing) -> None:
    """End a key at once. Doing it again changes nothing."""
    await store.lock(work, caller.organization_id)
    check_admin_remains(await store.list_scopes(work, caller.organization_id), id)
    if await store.revoke_key(work, caller.organization_id, id):
        await _record(work, caller, "api_key.revoked", id)
    elif not await store.has_key(work, caller.organization_id, id):
        raise ApiKeyNotFound


async def _record(work: Work, caller: Caller, action: str, key_id: str, **details: object) -> None:
    await audit.record(work, caller.organization_id, caller.actor, action, ("api_key", key_id), caller.request_id, **details)
