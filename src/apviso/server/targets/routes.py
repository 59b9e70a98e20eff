"""Targets, for people: add, look, edit, delete."""

from __future__ import annotations

from typing import Annotated

import uuid_utils
from fastapi import APIRouter, Body

from apviso.protocol.targets import NewTarget, TargetAnswer, TargetList, TargetPatch
from apviso.protocol.wire import TargetId
from apviso.server.access import Caller, TargetsReader, TargetsWriter
from apviso.server.audit import store as audit
from apviso.server.db.engine import Work
from apviso.server.errors import (
    AlreadyIssued,
    BodyTooLarge,
    CredentialInvalid,
    CredentialMissing,
    IdempotencyKeyReused,
    InsufficientScope,
    InvalidFields,
    LicenseInactive,
    LicenseLimitReached,
    MalformedJson,
    RateLimited,
    ScanAlreadyActive,
    TargetExists,
    TargetHasScans,
    TargetNotFound,
    VisibilityNotAllowed,
    WrongCredential,
    responses,
)
from apviso.server.idempotency import Idempotent
from apviso.server.licensing import store as licensing
from apviso.server.licensing.current import current_license
from apviso.server.localtime import keep_windows, next_turn
from apviso.server.organizations import store as organizations
from apviso.server.paging import Paged
from apviso.server.resources import Plant, Reading, Writing
from apviso.server.signals import jobs_topic
from apviso.server.targets import store
from apviso.server.targets.admission import Addresses, Edit, check_license, check_room, check_visibility, read_addresses, read_edit
from apviso.server.targets.facts import KnownTarget
from apviso.server.targets.proof import NOT_PROVED, new_token
from apviso.server.targets.windows import of_wire, stretch

router = APIRouter(prefix="/api/v1/targets", tags=["targets"])
DENIED = (CredentialMissing, CredentialInvalid, WrongCredential, InsufficientScope, RateLimited)
CHANGE = (*DENIED, MalformedJson, LicenseInactive, VisibilityNotAllowed, BodyTooLarge, InvalidFields)
NEW_EXAMPLE = {"domain": "intranet.example.com", "scanUrl": "https://intranet.example.com/app", "visibility": "private_internal"}


@router.post("", status_code=201, responses=responses(*CHANGE, LicenseLimitReached, TargetExists, AlreadyIssued, IdempotencyKeyReused))
async def create_target(
    wanted: Annotated[NewTarget, Body(examples=[NEW_EXAMPLE])], caller: TargetsWriter, plant: Plant, work: Writing, once: Idempotent
) -> TargetAnswer:
    """Add an application to be tested. The domain is kept in one canonical form, so that it can exist only once."""

    async def create() -> TargetAnswer:
        addresses = read_addresses(wanted.domain, wanted.display_url, wanted.scan_url)
        check_visibility(wanted.visibility, addresses)
        await organizations.lock(work, caller.organization_id)
        license_ = await current_license(work, plant, caller.organization_id)
        check_license(license_, wanted.visibility)
        taken = (await licensing.usage(work, caller.organization_id)).targets
        target = _new(work, caller, wanted, addresses)
        if not await store.add(work, target):
            raise TargetExists(f"This organization has a target with the domain {target.domain} already.")
        check_room(license_, taken)
        await _record(work, caller, "target.created", target, domain=target.domain, visibility=target.visibility)
        return TargetAnswer(target=await store.show(work, target))

    return await once.create(TargetAnswer, create)


@router.get("", responses=responses(*DENIED, InvalidFields))
async def list_targets(caller: TargetsReader, work: Reading, page: Paged) -> TargetList:
    """All targets, newest first."""
    targets, total = await store.list_page(work, caller.organization_id, page)
    return TargetList(targets=await store.show_all(work, targets), **page.counted(total))


@router.get("/{id}", responses=responses(*DENIED, TargetNotFound))
async def get_target(id: str, caller: TargetsReader, work: Reading) -> TargetAnswer:
    """One target."""
    return TargetAnswer(target=await store.show(work, await store.get(work, caller.organization_id, id)))


@router.patch("/{id}", responses=responses(*CHANGE, TargetNotFound, ScanAlreadyActive))
async def edit_target(
    id: str,
    patch: Annotated[TargetPatch, Body(examples=[{"visibility": "staging_preview"}])],
    caller: TargetsWriter,
    plant: Plant,
    work: Writing,
) -> TargetAnswer:
    """Change URLs, visibility or the windows in which scans may start.

    Another scanned host or visibility is judged like a new target, and its proof of control ends.
    """
    target = await store.get_locked(work, caller.organization_id, id)
    edit = read_edit(target, patch)
    if edit.is_other:
        if await store.has_active_scan(work, target.id):
            raise ScanAlreadyActive("A scan of this target is active; what it may touch cannot change until it has ended.")
        check_license(await current_license(work, plant, caller.organization_id), edit.visibility)
    values = _changes(target, edit)
    if patch.scan_windows is not None and of_wire(patch.scan_windows) != target.scan_windows:
        windows = of_wire(patch.scan_windows)
        turns_at = next_turn(windows, work.now)
        values |= {"scan_windows": keep_windows(windows), "window_turns_at": turns_at, **stretch(windows, work.now)}
        work.hints.add(jobs_topic(caller.organization_id))
    if values:
        await store.edit(work, caller.organization_id, target.id, **values)
        changed = {name: str(value) for name, value in values.items()}
        await _record(work, caller, "target.edited", target, **changed)
    return TargetAnswer(target=await store.show(work, await store.get(work, caller.organization_id, id)))


@router.delete("/{id}", status_code=204, responses=responses(*DENIED, TargetNotFound, TargetHasScans))
async def delete_target(id: str, caller: TargetsWriter, work: Writing) -> None:
    """Delete a target that was never scanned."""
    target = await store.get_locked(work, caller.organization_id, id)
    if not await store.remove(work, caller.organization_id, target.id):
        raise TargetHasScans
    await _record(work, caller, "target.deleted", target, domain=target.domain)


def _new(work: Work, caller: Caller, wanted: NewTarget, addresses: Addresses) -> KnownTarget:
    windows = of_wire(wanted.scan_windows)
    open_stretch = stretch(windows, work.now)
    return KnownTarget(
        id=TargetId(str(uuid_utils.uuid7())),
        organization_id=caller.organization_id,
        domain=str(addresses.domain),
        display_url=addresses.display_url.text,
        scan_url=addresses.scan_url.text,
        visibility=wanted.visibility,
        scan_windows=windows,
        window_opens_at=open_stretch["window_opens_at"],
        window_closes_at=open_stretch["window_closes_at"],
        window_turns_at=next_turn(windows, work.now),
        verified_at=None,
        last_scan_at=None,
        created_at=work.now,
        verification_token=new_token(),
    )


def _changes(target: KnownTarget, edit: Edit) -> dict[str, object]:
    """The columns that change."""
    wanted: dict[str, object] = {
        "display_url": edit.addresses.display_url.text,
        "scan_url": edit.addresses.scan_url.text,
        "visibility": edit.visibility,
        **(NOT_PROVED if edit.is_other else {}),
    }
    return {name: value for name, value in wanted.items() if value != getattr(target, name)}


async def _record(work: Work, caller: Caller, action: str, target: KnownTarget, **details: str) -> None:
    await audit.record(work, caller.organization_id, caller.actor, action, ("target", target.id), caller.request_id, **details)
