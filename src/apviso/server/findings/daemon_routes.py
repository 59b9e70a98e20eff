"""`POST /api/runner/jobs/{id}/events`: takes the numbered events of an attempt, in order and once, and knows the findings among them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Body
from fastapi.responses import JSONResponse

from apviso.protocol.daemon import EventBatch, EventsAnswer
from apviso.protocol.findings import ReportedFinding
from apviso.protocol.scan_events import FindingEvent, PhaseEvent, ProgressEvent, ScanEvent, StatsEvent
from apviso.protocol.states import HistoryCause, Severity, UserStatus
from apviso.server.access import DaemonCaller, JobHolder
from apviso.server.audit import store as audit
from apviso.server.db import triage
from apviso.server.db.engine import Work
from apviso.server.errors import LeaseLost, SequenceGap, problem_response, responses
from apviso.server.findings import store
from apviso.server.findings.fingerprint import fingerprint
from apviso.server.findings.score import scored
from apviso.server.findings.triage import news_of, status_when_seen
from apviso.server.metrics import FENCED
from apviso.server.resources import Writing
from apviso.server.scans import store as scans
from apviso.server.scans.daemon_routes import ON_A_JOB, of_caller
from apviso.server.scans.facts import AttemptFacts, ScanFacts
from apviso.server.scans.gaps import told_gaps, with_more
from apviso.server.scans.leases import holder_of
from apviso.server.signals import log_topic
from apviso.server.stream import store as stream

router = APIRouter(prefix="/api/runner/jobs", tags=["daemon"])
EXAMPLE = {"attempt": 1, "events": [{"seq": 1, "at": "2026-05-03T09:15:32Z", "type": "log", "level": "info", "message": "hello"}]}


@router.post("/{id}/events", response_model=EventsAnswer, responses=responses(*ON_A_JOB, SequenceGap))
async def append_events(
    id: str, batch: Annotated[EventBatch, Body(examples=[EXAMPLE])], caller: JobHolder, work: Writing
) -> EventsAnswer | JSONResponse:
    """Store events; their numbers start at 1 without gaps. Repeats are ignored.

    A gap is refused with `expectedSeq`, and nothing of the batch is kept.
    """
    scan, attempt = await of_caller(work, caller, id, batch.attempt)
    try:
        holder = holder_of(scan, attempt, caller.id)
    except LeaseLost as lost:
        return await _keep_apart(work, scan, attempt, batch, caller, lost)
    new = next_events(batch.events, holder.last_seq)
    if new:
        await scans.add_events(work, holder, new)
        for event in new:
            if isinstance(event, FindingEvent):
                await _know(work, scan, holder, scored(event.finding))
        await _note_progress(work, scan, new)
        work.hints.add(log_topic(scan.id))
    gaps = told_gaps(new)
    known = {"log_gaps": with_more(holder.log_gaps, gaps)} if gaps else {}
    await scans.edit_attempt(work, holder, last_seq=holder.last_seq + len(new), **known)
    return EventsAnswer(acked_seq=holder.last_seq + len(new), cancel_requested_at=scan.cancel_requested_at)


def next_events(events: Sequence[ScanEvent], last_seq: int) -> list[ScanEvent]:
    """The events that continue after `last_seq`; what was stored before is left out. Raises SequenceGap."""
    new: list[ScanEvent] = []
    for event in events:
        expected = last_seq + len(new) + 1
        if event.seq > expected:
            raise SequenceGap(expectedSeq=last_seq + 1)
        if event.seq == expected:
            new.append(event)
    return new


async def _keep_apart(
    work: Work, scan: ScanFacts, attempt: AttemptFacts | None, batch: EventBatch, caller: DaemonCaller, lost: LeaseLost
) -> JSONResponse:
    # Answered, not raised: what came too late is kept as evidence, and raising would roll that back.
    FENCED.inc()
    if attempt is not None and batch.events:
        await scans.add_superseded(work, scan.id, attempt.number, [event.model_dump_json(by_alias=True) for event in batch.events])
    return problem_response(lost, caller.request_id)


async def _know(work: Work, scan: ScanFacts, attempt: AttemptFacts, found: ReportedFinding) -> None:
    known = await store.record(work, scan, found, fingerprint(found))
    before = await store.find_sighting(work, attempt, known.id)
    if before is not None:
        await store.replace_sighting(work, attempt, known.id, merged(before, found))
    else:
        await store.add_sighting(work, attempt, known.id, found)
    news = news_of(known.before, is_new=known.is_new)
    if news is not None:
        data = {"findingId": known.id, "scanId": scan.id, "severity": found.severity, "title": found.title}
        stream.publish(work, scan.organization_id, news, **data)
    if (after := status_when_seen(known.before)) is not known.before:
        await _note_reopened(work, scan, known, after)


async def _note_reopened(work: Work, scan: ScanFacts, known: store.Known, after: UserStatus) -> None:
    cause = HistoryCause.RETEST if scan.is_retest else HistoryCause.SCAN
    note = "It was seen again."
    change = triage.Change(known.id, known.before, after, cause, audit.SYSTEM, note, scan_id=scan.id)
    await triage.write_history(work, [change])
    details = {"from": known.before, "to": after, "note": note, "cause": cause, "scanId": scan.id}
    await audit.record(work, scan.organization_id, audit.SYSTEM, "finding.reopened", ("finding", known.id), None, **details)


def merged(first: ReportedFinding, again: ReportedFinding) -> ReportedFinding:
    """One finding of two sightings in one attempt: the worse severity, all detectors, and the first's words.

    A scan that has merged sightings by itself says the finding again with more detectors; then its words are the fuller ones."""
    ranks = list(Severity)
    worse = again if ranks.index(again.severity) < ranks.index(first.severity) else first
    detectors = list(dict.fromkeys([*first.detectors, *again.detectors]))[:20]
    graded = {"severity": worse.severity, "cvss_score": worse.cvss_score, "cvss_vector": worse.cvss_vector}
    fuller = again if set(first.detectors) < set(again.detectors) else first
    return fuller.model_copy(update={**graded, "detectors": detectors})


async def _note_progress(work: Work, scan: ScanFacts, events: Sequence[ScanEvent]) -> None:
    seen: dict[str, Any] = {}
    for event in events:
        match event:
            case PhaseEvent():
                seen["phase"] = event.name
            case ProgressEvent():
                seen["percent"] = event.percent
                if event.requests is not None:
                    seen["requests"] = event.requests
            case StatsEvent():
                seen["requests"] = event.requests
            case _:
                pass
    if seen:
        await scans.record_progress(work, scan.id, **seen)
        stream.publish(work, scan.organization_id, "scan.progress", scanId=scan.id, attempt=scan.attempt, **seen)
