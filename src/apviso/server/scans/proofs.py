"""Looks for proofs of control again: before a scan starts, and from time to time. What waits for or runs on a lost one is ended."""

from __future__ import annotations

import secrets

from fastapi import Request
from pydantic import ValidationError

from apviso.protocol.scans import NewScan
from apviso.protocol.states import EndReason, ScanStatus
from apviso.protocol.wire import OrganizationId
from apviso.server.access import ScansWriter
from apviso.server.audit.store import SYSTEM
from apviso.server.db.engine import Work
from apviso.server.errors import TargetNotFound
from apviso.server.organizations import store as organizations
from apviso.server.resources import Plant, Resources
from apviso.server.scans import store
from apviso.server.scans.ending import conclude, tell
from apviso.server.scans.lifecycle import cancelled
from apviso.server.targets import store as targets
from apviso.server.targets.facts import KnownTarget
from apviso.server.targets.proof import Told, after_look, is_needed, is_stale
from apviso.server.verification.challenge import challenge_of
from apviso.server.verification.looking import Look, look, means_of
from apviso.server.verification.recording import record

LOST = "Control of the target is no longer proved."


async def looked_again(request: Request, caller: ScansWriter, plant: Plant) -> None:
    """Before the transaction of a start: where the proof has not been looked for within a day, look. The start judges what it came to."""
    try:
        wanted = NewScan.model_validate_json(await request.body())
    except ValidationError:
        return  # the route says what is wrong with it
    target = await find_stale(plant, caller.organization_id, wanted.target_id)
    if target is None:
        return
    # It waits for others, outside of the turnstile and with a bound of its own.
    request.state.step_out()
    plant.verifying.enter()
    request.state.parked = True
    try:
        looked = await seek(plant, target)
    finally:
        plant.verifying.leave()
    await plant.database.again(lambda: note(plant, target, looked.error))


async def find_stale(plant: Resources, organization_id: OrganizationId, target_id: str) -> KnownTarget | None:
    """The target, where its proof has to be looked for before a scan of it starts."""
    async with plant.database.reading(is_brief=True) as work:
        try:
            target = await targets.get(work, organization_id, target_id)
        except TargetNotFound:
            return None  # the route says so
        # Of most targets no proof is looked for, whatever their organization asks.
        if not (is_needed(target, is_required=True) and is_stale(target, work.now)):
            return None
        organization = await organizations.get(work, organization_id)
    return target if is_needed(target, is_required=organization.requires_verification) else None


async def seek(plant: Resources, target: KnownTarget) -> Look:
    """Look for a proof that was there, with no transaction open."""
    assert target.verification_method is not None
    challenge = challenge_of(target, target.verification_token or "")
    return await look(means_of(plant.settings), challenge, target.verification_method)


async def note(plant: Resources, target: KnownTarget, error: str | None) -> None:
    """What became of it; a scan that stands on a proof that is lost ends."""
    assert target.verification_method is not None
    async with plant.database.writing() as work:
        change = after_look(target, error, work.now, secrets.randbelow(1_000_001) / 1_000_000)
        is_noted = await record(work, target, target.verification_method, change, error, SYSTEM, None)
        if is_noted and change.told is Told.LOST:
            await _end_what_stands_on_it(work, target)


async def _end_what_stands_on_it(work: Work, target: KnownTarget) -> None:
    scan = await store.find_active_locked(work, target.organization_id, target.id)
    if scan is None:
        return
    if scan.status is ScanStatus.PENDING_RUNNER:
        await conclude(work, scan, cancelled(EndReason.CANCELED_BY_POLICY, LOST), actor=SYSTEM)
    elif await store.request_cancel(work, scan, EndReason.CANCELED_BY_POLICY):
        tell(work, scan, "cancel_requested", reason=str(EndReason.CANCELED_BY_POLICY))
