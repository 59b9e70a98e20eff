"""Queues a scan, whoever wants it, or refuses it, by the same readiness answer that people see."""

from __future__ import annotations

from dataclasses import dataclass, replace

import uuid_utils

from apviso.protocol.findings import MAX_RETESTED
from apviso.protocol.readiness import CheckCode, Readiness
from apviso.protocol.scans import NewScan
from apviso.protocol.states import ModelPreset
from apviso.protocol.wire import JobId, OrganizationId, RunnerId, ScanId, TargetId
from apviso.server.audit import store as audit
from apviso.server.db import findings
from apviso.server.db.engine import Work
from apviso.server.errors import (
    LicenseInactive,
    LicenseLimitReached,
    Refusal,
    RunnerNotReady,
    ScanAlreadyActive,
    TargetUnverified,
    VisibilityNotAllowed,
    field_refused,
)
from apviso.server.readiness.assessment import SCANNED
from apviso.server.readiness.gather import gather, judged
from apviso.server.resources import Resources
from apviso.server.scans import store
from apviso.server.scans.ending import tell
from apviso.server.scans.facts import ScanFacts
from apviso.server.targets import store as targets
from apviso.server.targets.facts import KnownTarget

# What waiting cannot mend is refused whether or not the caller would queue.
_FINAL: dict[CheckCode, type[Refusal]] = {
    CheckCode.LICENSE_ACTIVE: LicenseInactive,
    CheckCode.VISIBILITY_ALLOWED: VisibilityNotAllowed,
    CheckCode.TARGET_VERIFIED: TargetUnverified,
}
_MENDED_BY_WAITING: dict[CheckCode, type[Refusal]] = {CheckCode.LICENSE_CAPACITY: LicenseLimitReached}


@dataclass(frozen=True)
class Started:
    """A scan in the queue; `permitted` says whether a runner could take it at once."""

    scan: ScanFacts
    permitted: Permitted

    @property
    def readiness(self) -> Readiness:
        return self.permitted.readiness


@dataclass(frozen=True)
class Permitted:
    """What exactly is to be scanned, and how ready it is; the readiness counts the runners and does not name them."""

    wanted: NewScan
    target: KnownTarget
    readiness: Readiness
    # Of the runner that was asked for.
    runner_name: str | None


async def start(
    work: Work, plant: Resources, organization_id: OrganizationId, wanted: NewScan, *, actor: str, request_id: str | None = None
) -> Started:
    """Queue a scan. Raises the refusal that fits; then nothing was changed."""
    permitted = await permit(work, plant, organization_id, wanted)
    target, complete = permitted.target, permitted.wanted
    scan_id, job_id = ScanId(str(uuid_utils.uuid7())), JobId(str(uuid_utils.uuid7()))
    scan = await store.add(work, organization_id, scan_id, job_id, complete, target.id, target.visibility)
    if scan is None:
        raise ScanAlreadyActive
    tell(work, scan, "created")
    details = {"targetId": target.id, "modelPreset": complete.model_preset}
    await audit.record(work, organization_id, actor, "scan.created", ("scan", scan_id), request_id, **details)
    return Started(scan, permitted)


async def permit(work: Work, plant: Resources, organization_id: OrganizationId, wanted: NewScan) -> Permitted:
    """What may be queued now. Raises the refusal that fits, with the readiness checks where they explain it."""
    target = await targets.get_locked(work, organization_id, wanted.target_id)
    wanted = await _complete(work, organization_id, wanted)
    question = await gather(work, plant, organization_id, target, wanted.runner_id, is_brief=True)
    readiness = await judged(question)
    if not readiness.ready:
        # Whoever is refused is told of every runner, which for a thousand of them is most of the answer.
        refuse(await judged(replace(question, is_brief=False)), is_queued=wanted.when_unavailable == "queue")
    return Permitted(wanted, target, readiness, question.name_of(RunnerId(wanted.runner_id)) if wanted.runner_id is not None else None)


def refuse(readiness: Readiness, *, is_queued: bool) -> None:
    """Raise what readiness says against a start; nothing when a scan may be queued."""
    failed = {check.code: check for check in readiness.checks if not check.ok}
    if not failed:
        return
    explained = readiness.model_dump(mode="json", by_alias=True)
    for code, kind in _FINAL.items():
        if code in failed:
            raise kind(failed[code].message, readiness=explained)
    if CheckCode.TARGET_IDLE in failed and failed[CheckCode.TARGET_IDLE].observed == SCANNED:
        raise ScanAlreadyActive(failed[CheckCode.TARGET_IDLE].message, readiness=explained)
    if readiness.primary_blocker is not None and not is_queued:
        kind = _MENDED_BY_WAITING.get(readiness.primary_blocker, RunnerNotReady)
        checks, blocker = explained["checks"], explained["primaryBlocker"]
        raise kind(readiness.reason, readiness=explained, checks=checks, primaryBlocker=blocker)


async def _complete(work: Work, organization_id: OrganizationId, wanted: NewScan) -> NewScan:
    """A retest with the findings that it is about, and at least as deep as its parent. Raises InvalidFields, ScanNotFound."""
    parent = None if wanted.parent_scan_id is None else await store.get(work, organization_id, wanted.parent_scan_id)
    if parent is not None and parent.target_id != wanted.target_id:
        raise field_refused("parentScanId", "is a scan of another target")
    ids = list(dict.fromkeys(wanted.finding_ids))
    if ids and await findings.count_of_target(work, TargetId(wanted.target_id), ids) < len(ids):
        raise field_refused("findingIds", "names findings that this target does not have")
    if not wanted.is_retest:
        return wanted
    if parent is None:
        raise field_refused("parentScanId", "is needed for a retest: name the scan whose findings are to be checked again")
    if not parent.is_final:
        raise field_refused("parentScanId", "has not ended yet")
    named = ids or await findings.list_ids_of_scan(work, parent.id, MAX_RETESTED + 1)
    if not named:
        raise field_refused("parentScanId", "saw nothing that could be checked again")
    if len(named) > MAX_RETESTED:
        raise field_refused("findingIds", f"must name up to {MAX_RETESTED} findings: the parent scan saw more")
    # A shallower look than the one that found them could not tell that they are gone.
    deeper = max(wanted.model_preset, parent.model_preset, key=list(ModelPreset).index)
    return wanted.model_copy(update={"finding_ids": named, "model_preset": deeper})
