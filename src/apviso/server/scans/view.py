"""Shows scans as the API's `Scan`, with their finding counts and, while they wait, the reason."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from apviso.protocol.findings import FindingCounts
from apviso.protocol.readiness import WaitingFor
from apviso.protocol.scan_events import Coverage
from apviso.protocol.scans import Attempt, Scan, ScanJob, ScanProgress
from apviso.protocol.states import ScanStatus
from apviso.protocol.wire import FindingId, ScanId
from apviso.server.db.engine import Work
from apviso.server.readiness.assessment import waiting_for
from apviso.server.readiness.gather import gather, judged_each, target_facts
from apviso.server.resources import Resources
from apviso.server.scans import store
from apviso.server.scans.facts import AttemptFacts, ScanFacts
from apviso.server.scans.starting import Started

NOTHING_FOUND = (FindingCounts(), 0)


async def show(work: Work, plant: Resources, scans: Sequence[ScanFacts]) -> list[Scan]:
    """The scans of one organization, in the given order."""
    counts, names = await store.counts_of(work, scans), await store.names_of(work, scans)
    waiting = await _explain(work, plant, [scan for scan in scans if scan.status is ScanStatus.PENDING_RUNNER])
    return [_wire(scan, names[scan.id], *counts.get(scan.id, NOTHING_FOUND), waiting.get(scan.id)) for scan in scans]


def show_started(started: Started) -> Scan:
    """A scan that was queued just now: what it waits for is what its start was judged by, and nothing is found yet."""
    permitted = started.permitted
    names = (permitted.target.domain, permitted.runner_name)
    return _wire(started.scan, names, *NOTHING_FOUND, waiting_for(permitted.readiness))


async def _explain(work: Work, plant: Resources, queued: list[ScanFacts]) -> dict[ScanId, WaitingFor]:
    if not queued:
        return {}
    fleet = await gather(work, plant, queued[0].organization_id, is_brief=True)
    known = await target_facts(work, queued[0].organization_id, {scan.target_id for scan in queued}, [scan.id for scan in queued])
    questions = [
        replace(fleet, target=known[scan.target_id], requested_runner_id=scan.requested_runner_id, not_before=scan.not_before)
        for scan in queued
    ]
    return {scan.id: waiting_for(readiness) for scan, readiness in zip(queued, await judged_each(questions), strict=True)}


def _wire(scan: ScanFacts, names: tuple[str, str | None], counts: FindingCounts, false_positives: int, waiting: WaitingFor | None) -> Scan:
    return Scan(
        id=scan.id,
        target_id=scan.target_id,
        target_domain=names[0],
        status=scan.status,
        status_reason=scan.status_reason,
        end_reason=scan.end_reason,
        runner_id=scan.runner_id or scan.requested_runner_id,
        runner_name=names[1],
        attempt=scan.attempt,
        target_visibility=scan.target_visibility,
        scan_image_digest=scan.scan_image_digest,
        model_preset=scan.model_preset,
        is_retest=scan.is_retest,
        parent_scan_id=scan.parent_scan_id,
        finding_ids=[FindingId(id_) for id_ in scan.finding_ids],
        progress=progress(scan),
        coverage=Coverage.model_validate(scan.coverage) if scan.coverage is not None else None,
        finding_counts=counts,
        false_positives=false_positives,
        waiting_for=waiting,
        cancel_requested_at=scan.cancel_requested_at,
        created_at=scan.created_at,
        started_at=scan.started_at,
        finished_at=scan.finished_at,
    )


def attempt(known: AttemptFacts, runner_name: str) -> Attempt:
    told = known.finish or {}
    return Attempt(
        number=known.number,
        runner_id=known.runner_id,
        runner_name=runner_name,
        assigned_at=known.assigned_at,
        started_at=known.started_at,
        ended_at=known.ended_at,
        end_reason=known.end_reason,
        message=": ".join(text for text in (told.get("errorCode"), told.get("errorMessage")) if text) or None,
        last_seq=known.last_seq,
    )


def progress(scan: ScanFacts) -> ScanProgress:
    return ScanProgress(phase=scan.phase, percent=scan.percent, requests=scan.requests)


def job(scan: ScanFacts) -> ScanJob:
    return ScanJob(id=scan.job_id, scan_id=scan.id, status=scan.status, attempt=scan.attempt, runner_id=scan.runner_id)
