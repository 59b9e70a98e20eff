"""Enrollment tokens, for people: issue, list, revoke."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Body

from apviso.protocol.runners import (
    EnrollmentTokenAnswer,
    EnrollmentTokenList,
    IssuedEnrollmentToken,
    NewEnrollmentToken,
    TokenOutcomeAnswer,
)
from apviso.protocol.tokens import Namespace, new_token
from apviso.server.access import RunnersReader, RunnersWriter
from apviso.server.audit import store as audit
from apviso.server.enrollment import store
from apviso.server.errors import (
    AlreadyIssued,
    BodyTooLarge,
    CredentialInvalid,
    CredentialMissing,
    EnrollmentTokenNotFound,
    IdempotencyKeyReused,
    InsufficientScope,
    InvalidFields,
    MalformedJson,
    RateLimited,
    WrongCredential,
    responses,
)
from apviso.server.idempotency import Idempotent
from apviso.server.paging import Paged
from apviso.server.resources import Reading, Writing

DENIED = (CredentialMissing, CredentialInvalid, WrongCredential, InsufficientScope, RateLimited)
router = APIRouter(prefix="/api/v1/runners/enrollment-tokens", tags=["runners"], responses=responses(*DENIED, InvalidFields))


@router.post(
    "", status_code=201, responses=responses(*DENIED, MalformedJson, AlreadyIssued, BodyTooLarge, InvalidFields, IdempotencyKeyReused)
)
async def create_enrollment_token(
    caller: RunnersWriter,
    work: Writing,
    once: Idempotent,
    wanted: Annotated[NewEnrollmentToken | None, Body(examples=[{"name": "prod-runner-1"}])] = None,
) -> IssuedEnrollmentToken:
    """Issue a one-time token for `apviso register`. It is shown here and never again."""
    asked = wanted or NewEnrollmentToken()

    async def issue() -> IssuedEnrollmentToken:
        token = new_token(Namespace.ENROLLMENT)
        expires_at = work.now + timedelta(seconds=asked.expires_in_seconds)
        await store.add(work, caller.organization_id, token, asked, expires_at)
        subject = ("enrollment_token", token.prefix)
        await audit.record(
            work, caller.organization_id, caller.actor, "enrollment_token.created", subject, caller.request_id, name=asked.name
        )
        return IssuedEnrollmentToken(token=token.reveal(), token_prefix=token.prefix, expires_at=expires_at)

    return await once.issue(issue)


@router.get("")
async def list_enrollment_tokens(caller: RunnersReader, work: Reading, page: Paged) -> EnrollmentTokenList:
    """Tokens that were issued and neither used nor revoked nor expired. The secrets are not kept."""
    tokens, total = await store.list_outstanding(work, caller.organization_id, page)
    return EnrollmentTokenList(enrollment_tokens=tokens, **page.counted(total))


@router.get("/{tokenPrefix}", responses=responses(EnrollmentTokenNotFound))
async def get_enrollment_token(tokenPrefix: str, caller: RunnersReader, work: Reading) -> EnrollmentTokenAnswer:  # noqa: N803  # as above
    """One outstanding token, without its secret."""
    token = await store.find_outstanding(work, caller.organization_id, tokenPrefix)
    if token is None:
        raise EnrollmentTokenNotFound
    return EnrollmentTokenAnswer(enrollment_token=token)


@router.get("/{tokenPrefix}/outcome", responses=responses(EnrollmentTokenNotFound))
async def get_enrollment_token_outcome(tokenPrefix: str, caller: RunnersReader, work: Reading) -> TokenOutcomeAnswer:  # noqa: N803  # as above
    """What has become of a token, outstanding or not, and which runner was enrolled with it."""
    outcome = await store.find_outcome(work, caller.organization_id, tokenPrefix)
    if outcome is None:
        raise EnrollmentTokenNotFound
    return TokenOutcomeAnswer(outcome=outcome)


@router.delete("/{tokenPrefix}", status_code=204, responses=responses(*DENIED, EnrollmentTokenNotFound))
async def revoke_enrollment_token(tokenPrefix: str, caller: RunnersWriter, work: Writing) -> None:  # noqa: N803  # the contract's name
    """Withdraw a token before it is used."""
    if not await store.revoke(work, caller.organization_id, tokenPrefix):
        raise EnrollmentTokenNotFound
    subject = ("enrollment_token", tokenPrefix)
    await audit.record(work, caller.organization_id, caller.actor, "enrollment_token.revoked", subject, caller.request_id)
