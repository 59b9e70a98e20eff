"""Scans, as people see them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, JsonValue

from apviso.protocol.findings import MAX_RETESTED, FindingCounts
from apviso.protocol.readiness import WaitingFor
from apviso.protocol.scan_events import Coverage, MissingCause
from apviso.protocol.states import EndReason, ModelPreset, ScanStatus, Visibility
from apviso.protocol.wire import MAX_ID_LENGTH, FindingId, Instant, JobId, RunnerId, ScanId, TargetId, Text, Wire

Id = Annotated[Text, Field(min_length=1, max_length=MAX_ID_LENGTH)]


class NewScan(Wire):
    target_id: Id
    runner_id: Id | None = None
    is_retest: bool = False
    parent_scan_id: Id | None = None
    finding_ids: Annotated[list[Id], Field(max_length=MAX_RETESTED)] = []
    model_preset: ModelPreset = ModelPreset.LOW
    when_unavailable: Literal["reject", "queue"] = "reject"


class ScanProgress(Wire):
    phase: str | None = None
    percent: float = 0
    requests: int = 0


class Scan(Wire):
    """`target_domain` and `runner_name` are as they are called now."""

    id: ScanId
    target_id: TargetId
    target_domain: str = ""
    status: ScanStatus
    status_reason: str | None
    end_reason: EndReason | None
    runner_id: RunnerId | None
    runner_name: str | None = None
    attempt: int
    execution_mode: Literal["self_hosted_runner"] = "self_hosted_runner"
    target_visibility: Visibility
    scan_image_digest: str | None
    model_preset: ModelPreset
    is_retest: bool
    parent_scan_id: ScanId | None
    finding_ids: list[FindingId] = []
    progress: ScanProgress
    coverage: Coverage | None
    finding_counts: FindingCounts
    false_positives: int = 0
    waiting_for: WaitingFor | None
    cancel_requested_at: Instant | None = None
    created_at: Instant
    started_at: Instant | None
    finished_at: Instant | None


class ScanJob(Wire):
    """The unit of work behind a scan: what a runner claims."""

    id: JobId
    scan_id: ScanId
    status: ScanStatus
    attempt: int
    runner_id: RunnerId | None


class ScanAnswer(Wire):
    scan: Scan


class CreatedScan(Wire):
    scan: Scan
    job: ScanJob


class ScanList(Wire):
    scans: list[Scan]
    total: int
    page: int
    limit: int
    total_pages: int
    next_cursor: str | None = None


class LogGap(Wire):
    """What is missing in a log: the event `seq` stands for `count` lines or events. Where the end is missing, nobody knows how many:
    `seq` is then the number that would have come next."""

    seq: int
    count: int | None
    cause: MissingCause


class Attempt(Wire):
    """One claim of a scan by one runner. `last_seq` is the number of its last event; `message` is what the runner said of its end."""

    number: int
    runner_id: RunnerId
    runner_name: str
    assigned_at: Instant
    started_at: Instant | None
    ended_at: Instant | None
    end_reason: EndReason | None
    message: str | None
    last_seq: int


class AttemptList(Wire):
    attempts: list[Attempt]


class ScanLog(Wire):
    """Events of one attempt after `after`; `last_seq` is the last one listed, so it is the next `after`.

    `next_cursor` is the same and names the attempt, too; a log can always grow, so it is always there. `gaps` are of the whole attempt.
    """

    attempt: int
    events: list[dict[str, JsonValue]]
    last_seq: int
    next_cursor: str | None = None
    gaps: list[LogGap] = []


class Load(Wire):
    """How many slots of runners were in use at a moment, and how many scans waited."""

    at: Instant
    running: int
    queued: int


class ScanLoad(Wire):
    """Oldest first; the last moment is now."""

    moments: list[Load]


class Report(Wire):
    markdown_content: str
    pdf_url: str | None
    html_url: str | None
    sarif_url: str | None
    markdown_url: str | None = None
    csv_url: str | None = None
    json_url: str | None = None
    summary: dict[str, JsonValue]
    not_made: dict[str, str] = {}


class ReportAnswer(Wire):
    report: Report


class ReportPending(Wire):
    """202: the scan has not ended yet, or what could not be made is tried again after a while."""

    status: ScanStatus
    progress: ScanProgress
