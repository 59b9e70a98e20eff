"""Proof of control, for people: how to prove it, and looking for it now. The look is made between two transactions, never inside one."""

from __future__ import annotations

import secrets
from typing import Annotated

from fastapi import APIRouter, Body, Request

from apviso.protocol.states import VISIBILITIES_NEEDING_PROOF, VerificationMethod
from apviso.protocol.targets import Target, TargetAnswer
from apviso.protocol.verification import VerificationInstructions, VerificationInstructionsAnswer, VerificationRequest
from apviso.protocol.wire import OrganizationId
from apviso.server.access import Caller, TargetsReader, TargetsWriter
from apviso.server.errors import (
    BodyTooLarge,
    CredentialInvalid,
    CredentialMissing,
    InsufficientScope,
    InvalidFields,
    MalformedJson,
    Overloaded,
    RateLimited,
    TargetNotFound,
    VerificationFailed,
    VerificationNotNeeded,
    WrongCredential,
    field_refused,
    responses,
)
from apviso.server.organizations import store as organizations
from apviso.server.resources import Plant, Resources
from apviso.server.targets import store as targets
from apviso.server.targets.facts import KnownTarget
from apviso.server.targets.proof import after_asking, is_needed, new_token
from apviso.server.verification import challenge as proof
from apviso.server.verification.challenge import Challenge, challenge_of
from apviso.server.verification.looking import Look, look, means_of
from apviso.server.verification.recording import record

router = APIRouter(prefix="/api/v1/targets", tags=["targets"])
DENIED = (CredentialMissing, CredentialInvalid, WrongCredential, InsufficientScope, RateLimited)
VOUCHED_FOR = "Targets of the visibility {} need no proof: the scope file of the runner vouches for the hosts that it may touch."


@router.get("/{id}/verify/instructions", responses=responses(*DENIED, TargetNotFound))
async def get_verification_instructions(id: str, caller: TargetsReader, plant: Plant) -> VerificationInstructionsAnswer:
    """How to prove control of a target: a TXT record, a file or a meta tag. One of them is enough."""
    target, challenge = await _challenged(plant, caller.organization_id, id)
    async with plant.database.reading() as work:
        organization = await organizations.get(work, caller.organization_id)
    needed = is_needed(target, is_required=organization.requires_verification)
    return VerificationInstructionsAnswer(instructions=_instructions(target, challenge, needed=needed))


@router.post(
    "/{id}/verify",
    responses=responses(
        *DENIED, MalformedJson, BodyTooLarge, InvalidFields, TargetNotFound, VerificationFailed, VerificationNotNeeded, Overloaded
    ),
)
async def verify_target(
    id: str,
    wanted: Annotated[VerificationRequest, Body(examples=[{"method": "dns_txt"}])],
    request: Request,
    caller: TargetsWriter,
    plant: Plant,
) -> TargetAnswer:
    """Look for the proof now. Where it is not found, `checks` says what was looked at, what was seen there and what to do."""
    target, challenge = await _challenged(plant, caller.organization_id, id)
    _check_method(target, challenge, wanted.method)
    # From here on it waits for others, and needs the database at the end alone.
    request.state.step_out()
    plant.verifying.enter()
    request.state.parked = True
    try:
        looked = await look(means_of(plant.settings), challenge, wanted.method)
    finally:
        plant.verifying.leave()
    verified = await plant.database.again(lambda: _record(plant, caller, target, wanted.method, looked))
    if looked.error is not None or verified is None:
        reason = looked.error or "The target was changed while it was looked at; try again."
        raise VerificationFailed(reason, checks=[check.model_dump(mode="json", by_alias=True) for check in looked.checks])
    return TargetAnswer(target=verified)


async def _challenged(plant: Resources, organization_id: OrganizationId, target_id: str) -> tuple[KnownTarget, Challenge]:
    """The target and what it has to show; targets of earlier versions get their word now. Raises TargetNotFound."""
    async with plant.database.reading() as work:
        target = await targets.get(work, organization_id, target_id)
    if not target.verification_token:
        async with plant.database.writing() as work:
            await targets.give_token(work, organization_id, target.id, new_token())
            target = await targets.get(work, organization_id, target_id)
    return target, challenge_of(target, target.verification_token or "")


def _check_method(target: KnownTarget, challenge: Challenge, method: VerificationMethod) -> None:
    if target.visibility not in VISIBILITIES_NEEDING_PROOF:
        raise VerificationNotNeeded(VOUCHED_FOR.format(target.visibility))
    if method is VerificationMethod.DNS_TXT and challenge.record_name is None:
        raise field_refused("method", f"{challenge.place.host} is an address and has no records; use file or meta_tag")


async def _record(plant: Resources, caller: Caller, seen: KnownTarget, method: VerificationMethod, looked: Look) -> Target | None:
    """The target as it is now; None where it is not what was looked at any more."""
    async with plant.database.writing() as work:
        change = after_asking(seen, method, looked.error, work.now, _chance())
        if not await record(work, seen, method, change, looked.error, caller.actor, caller.request_id):
            return None
        return await targets.show(work, await targets.get(work, caller.organization_id, seen.id))


def _chance() -> float:
    return secrets.randbelow(1_000_001) / 1_000_000


def _instructions(target: KnownTarget, challenge: Challenge, *, needed: bool) -> VerificationInstructions:
    if target.visibility not in VISIBILITIES_NEEDING_PROOF:
        reason = VOUCHED_FOR.format(target.visibility)
    elif needed:
        reason = f"Control of {target.visibility} targets has to be proved before they can be scanned."
    else:
        reason = "Verification is switched off for this organization."
    return VerificationInstructions(
        target_id=target.id,
        host=challenge.place.host,
        needed=needed,
        reason=reason,
        dns_txt=proof.dns_txt(challenge),
        file=proof.file(challenge),
        meta_tag=proof.meta_tag(challenge),
    )
