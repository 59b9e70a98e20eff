"""All tables but those of people (`people_schema`). Columns say what is kept; which change is allowed is decided by the slices' rules."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, ForeignKey, Index, Integer, String, Text, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from apviso.protocol.wire import FindingId, JobId, OrganizationId, RunnerId, ScanId, ScheduleId, TargetId
from apviso.server.db import people_schema  # noqa: F401  # its tables are among METADATA
from apviso.server.db.base import Table

# With those of `people_schema`.
METADATA = Table.metadata
_ID = String(36)
_IS_ANYBODYS = text("status = 'pending_runner' AND requested_runner_id IS NULL AND avoid_runner_id IS NULL")
_IS_FOR_SOME = text("status = 'pending_runner' AND (requested_runner_id IS NOT NULL OR avoid_runner_id IS NOT NULL)")
_IS_ACTIVE = text("status IN ('pending_runner', 'assigned', 'running', 'stale')")
_IS_LIVE = text("ended_at IS NULL")
_IS_QUEUED = text("status = 'pending_runner'")
_IS_UNREPORTED = text("finished_at IS NOT NULL AND reported_at IS NULL")
_IS_UNSET = text("pdf_tries_left > 0")
_IS_ACCEPTED_FOR_A_TIME = text("accepted_until IS NOT NULL")
_IS_LOOKED_FOR = text("verification_due_at IS NOT NULL")
_IS_LEASED = text("status IN ('assigned', 'running', 'stale')")
_IS_OPEN = text("status IN ('pending', 'held')")
_IS_OF_RUNNER = text("subject_type = 'runner'")
_IS_FINISHED = text("finished_at IS NOT NULL")
_IS_CALLED = text("roll_call_until IS NOT NULL")
# SQLite counts up by itself only in a column that is exactly INTEGER.
_COUNTER = BigInteger().with_variant(Integer(), "sqlite")


class OrganizationRow(Table):
    __tablename__ = "organizations"
    id: Mapped[OrganizationId] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(120), unique=True)
    requires_verification: Mapped[bool] = mapped_column(default=True)
    # What the live stream was last told: "ready", or the code of what blocks; empty before the first look.
    told_readiness: Mapped[str | None] = mapped_column(String(60))
    created_at: Mapped[datetime]


class ApiKeyRow(Table):
    __tablename__ = "api_keys"
    id: Mapped[str] = mapped_column(_ID, primary_key=True)
    organization_id: Mapped[OrganizationId] = mapped_column(ForeignKey("organizations.id"), index=True)
    prefix: Mapped[str] = mapped_column(String(12), unique=True)
    secret_sha256: Mapped[str] = mapped_column(String(64))
    name: Mapped[str] = mapped_column(String(120))
    scopes: Mapped[list[str]]
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    # That it runs out soon is told once.
    expiry_told_at: Mapped[datetime | None]


class LicenseRow(Table):
    """The installed license file of an organization, as it was signed."""

    __tablename__ = "licenses"
    organization_id: Mapped[OrganizationId] = mapped_column(ForeignKey("organizations.id"), primary_key=True)
    document: Mapped[str] = mapped_column(Text)
    installed_at: Mapped[datetime]


class IdempotencyRow(Table):
    """The answer of a create, kept so that a repeat gets it again. Answers that held a secret are kept without it."""

    __tablename__ = "idempotency_keys"
    organization_id: Mapped[OrganizationId] = mapped_column(ForeignKey("organizations.id"), primary_key=True)
    key: Mapped[str] = mapped_column(String(200), primary_key=True)
    request_sha256: Mapped[str] = mapped_column(String(64))
    answer: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(index=True)


class TargetRow(Table):
    __tablename__ = "targets"
    __table_args__ = (
        UniqueConstraint("organization_id", "domain"),
        Index("ix_targets_looked_for", "verification_due_at", sqlite_where=_IS_LOOKED_FOR, postgresql_where=_IS_LOOKED_FOR),
    )
    id: Mapped[TargetId] = mapped_column(primary_key=True)
    organization_id: Mapped[OrganizationId] = mapped_column(ForeignKey("organizations.id"))
    domain: Mapped[str] = mapped_column(String(300))
    display_url: Mapped[str] = mapped_column(String(2000))
    scan_url: Mapped[str] = mapped_column(String(2000))
    visibility: Mapped[str] = mapped_column(String(20))
    # In which scans may start, and the stretch of them that lasts or comes next: both empty where scans may always start.
    scan_windows: Mapped[list[Any] | None] = mapped_column(JSON)
    window_opens_at: Mapped[datetime | None] = mapped_column(index=True)
    window_closes_at: Mapped[datetime | None] = mapped_column(index=True)
    # When one of them next opens or closes, which is to be told.
    window_turns_at: Mapped[datetime | None] = mapped_column(index=True)
    verified_at: Mapped[datetime | None]
    last_scan_at: Mapped[datetime | None]
    created_at: Mapped[datetime]
    # No secret: it is published. Rows of earlier versions get theirs when somebody asks how to prove control.
    verification_token: Mapped[str | None] = mapped_column(String(64))
    verification_method: Mapped[str | None] = mapped_column(String(20))
    verification_checked_at: Mapped[datetime | None]
    verification_error: Mapped[str | None] = mapped_column(String(1000))
    verification_failing_since: Mapped[datetime | None]
    verification_due_at: Mapped[datetime | None]


class EnrollmentTokenRow(Table):
    __tablename__ = "enrollment_tokens"
    prefix: Mapped[str] = mapped_column(String(12), primary_key=True)
    organization_id: Mapped[OrganizationId] = mapped_column(ForeignKey("organizations.id"), index=True)
    secret_sha256: Mapped[str] = mapped_column(String(64))
    name: Mapped[str | None] = mapped_column(String(120))
    labels: Mapped[list[str]]
    ephemeral: Mapped[bool]
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    revoked_at: Mapped[datetime | None]
    used_at: Mapped[datetime | None]
    exchange_key_sha256: Mapped[str | None] = mapped_column(String(64))
    runner_id: Mapped[RunnerId | None]


class RunnerRow(Table):
    __tablename__ = "runners"
    # Room in each page for the next version of a row: then no index has to follow a heartbeat.
    __table_args__ = (
        Index(None, "organization_id", "revoked_at"),
        Index("ix_runners_roll_call", "organization_id", sqlite_where=_IS_CALLED, postgresql_where=_IS_CALLED),
        {"postgresql_with": {"fillfactor": 70}},
    )
    id: Mapped[RunnerId] = mapped_column(primary_key=True)
    organization_id: Mapped[OrganizationId] = mapped_column(ForeignKey("organizations.id"))
    name: Mapped[str] = mapped_column(String(120))
    token_prefix: Mapped[str] = mapped_column(String(12))
    ephemeral: Mapped[bool]
    labels: Mapped[list[str]]
    max_concurrency: Mapped[int | None]
    created_at: Mapped[datetime]
    revoked_at: Mapped[datetime | None]
    # What an administrator wants.
    admin_state: Mapped[str] = mapped_column(String(12), default="enabled")
    admin_note: Mapped[str | None] = mapped_column(String(1000))
    admin_until: Mapped[datetime | None]
    drain_deadline: Mapped[datetime | None]
    # Why it is or was last kept from scans, until one has shown that it works; what failed before somebody trusted it counts no more.
    quarantine: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    trusted_at: Mapped[datetime | None]
    maintenance_windows: Mapped[list[Any] | None] = mapped_column(JSON)
    # When one of them next opens or closes: readiness is judged anew then.
    maintenance_turns_at: Mapped[datetime | None] = mapped_column(index=True)
    retired_at: Mapped[datetime | None]
    rotate_requested_at: Mapped[datetime | None]
    # What the runner said last.
    version: Mapped[str] = mapped_column(String(64))
    protocol_version: Mapped[int]
    os: Mapped[str] = mapped_column(String(64))
    arch: Mapped[str] = mapped_column(String(64))
    container_engine: Mapped[str] = mapped_column(String(64))
    configured_concurrency: Mapped[int]
    provider_state: Mapped[dict[str, Any]]
    capabilities: Mapped[dict[str, Any]]
    health: Mapped[dict[str, Any]]
    boot_id: Mapped[str | None] = mapped_column(String(128))
    previous_boot_id: Mapped[str | None] = mapped_column(String(128))
    # The latest of its boots, with the addresses that they spoke from.
    boots: Mapped[list[Any] | None] = mapped_column(JSON(none_as_null=True))
    beat_seq: Mapped[int] = mapped_column(BigInteger, default=0)
    claim_poll_age_ms: Mapped[int | None] = mapped_column(BigInteger)
    duplicate_seen_at: Mapped[datetime | None]
    last_heartbeat_at: Mapped[datetime | None]
    last_contact_at: Mapped[datetime | None]
    goodbye_at: Mapped[datetime | None]
    # Until then nobody of its organization gets a scan unless it has told what it runs: the records may be older than that.
    roll_call_until: Mapped[datetime | None]
    # What the history last recorded, so that a sweep writes changes only.
    observed_status: Mapped[str | None] = mapped_column(String(10))
    observed_reasons: Mapped[list[str] | None]


class RunnerTokenRow(Table):
    __tablename__ = "runner_tokens"
    prefix: Mapped[str] = mapped_column(String(12), primary_key=True)
    runner_id: Mapped[RunnerId] = mapped_column(ForeignKey("runners.id"), index=True)
    secret_sha256: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[datetime]
    valid_until: Mapped[datetime | None]
    first_used_at: Mapped[datetime | None]


class RunnerIntervalRow(Table):
    """A stretch of one runner status; the open one has no end."""

    __tablename__ = "runner_intervals"
    __table_args__ = (Index(None, "runner_id", "since"),)
    id: Mapped[int] = mapped_column(_COUNTER, primary_key=True, autoincrement=True)
    runner_id: Mapped[RunnerId] = mapped_column(ForeignKey("runners.id"))
    status: Mapped[str] = mapped_column(String(10))
    reasons: Mapped[list[str]]
    since: Mapped[datetime]
    until: Mapped[datetime | None]


class HeartbeatGapRow(Table):
    """A stretch without heartbeats that was longer than the late limit, written when the next heartbeat came."""

    __tablename__ = "heartbeat_gaps"
    __table_args__ = (Index(None, "runner_id", "since"),)
    id: Mapped[int] = mapped_column(_COUNTER, primary_key=True, autoincrement=True)
    runner_id: Mapped[RunnerId] = mapped_column(ForeignKey("runners.id"))
    since: Mapped[datetime]
    until: Mapped[datetime]


class ScanRow(Table):
    """A scan and its job: one row, two identities. `attempt` is the fence: the number of the latest claim."""

    __tablename__ = "scans"
    __table_args__ = (
        Index(None, "organization_id", "created_at"),
        Index(None, "organization_id", "status"),
        Index(None, "target_id", "status"),
        Index(None, "status", "not_before"),
        # What a claim may find, oldest first; and those of them that not every runner may take.
        Index(
            "ix_scans_anybodys",
            "organization_id",
            "target_visibility",
            "created_at",
            "id",
            sqlite_where=_IS_ANYBODYS,
            postgresql_where=_IS_ANYBODYS,
        ),
        Index("ix_scans_for_some", "organization_id", "status", "created_at", sqlite_where=_IS_FOR_SOME, postgresql_where=_IS_FOR_SOME),
        # Two scans never run against one target; the database itself keeps that.
        Index("uq_scans_active_target", "target_id", unique=True, sqlite_where=_IS_ACTIVE, postgresql_where=_IS_ACTIVE),
        # The timers: how long a scan waits, and which are with a runner, whatever else is queued or has ended.
        Index("ix_scans_queued_created_at", "created_at", sqlite_where=_IS_QUEUED, postgresql_where=_IS_QUEUED),
        Index("ix_scans_leased_id", "id", sqlite_where=_IS_LEASED, postgresql_where=_IS_LEASED),
        # What has ended and has no report yet.
        Index("ix_scans_unreported", "finished_at", sqlite_where=_IS_UNREPORTED, postgresql_where=_IS_UNREPORTED),
    )
    id: Mapped[ScanId] = mapped_column(primary_key=True)
    job_id: Mapped[JobId] = mapped_column(unique=True)
    organization_id: Mapped[OrganizationId] = mapped_column(ForeignKey("organizations.id"))
    target_id: Mapped[TargetId] = mapped_column(ForeignKey("targets.id"))
    target_visibility: Mapped[str] = mapped_column(String(20))
    requested_runner_id: Mapped[RunnerId | None] = mapped_column(ForeignKey("runners.id"))
    runner_id: Mapped[RunnerId | None] = mapped_column(ForeignKey("runners.id"))
    avoid_runner_id: Mapped[RunnerId | None]
    status: Mapped[str] = mapped_column(String(20))
    status_reason: Mapped[str | None] = mapped_column(String(2100))
    end_reason: Mapped[str | None] = mapped_column(String(30))
    attempt: Mapped[int]
    infrastructure_failures: Mapped[int]
    not_before: Mapped[datetime | None]
    model_preset: Mapped[str] = mapped_column(String(10))
    is_retest: Mapped[bool]
    parent_scan_id: Mapped[ScanId | None]
    finding_ids: Mapped[list[str]]
    scan_image_digest: Mapped[str | None] = mapped_column(String(100))
    phase: Mapped[str | None] = mapped_column(String(100))
    percent: Mapped[float]
    requests: Mapped[int] = mapped_column(BigInteger)
    coverage: Mapped[dict[str, Any] | None]
    cancel_requested_at: Mapped[datetime | None]
    cancel_reason: Mapped[str | None] = mapped_column(String(30))
    created_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    # When its report was written, or given up; whoever sets it does so.
    reported_at: Mapped[datetime | None]
    # How often it could not be written, and when it is tried again; in the end why it was given up.
    report_failures: Mapped[int | None]
    report_due_at: Mapped[datetime | None]
    report_given_up: Mapped[str | None] = mapped_column(String(300))


class AttemptRow(Table):
    """One claim of a scan by one runner. It is live while `ended_at` is empty and its number is the scan's."""

    __tablename__ = "attempts"
    __table_args__ = (
        UniqueConstraint("runner_id", "nonce"),
        Index(None, "target_id", "silent_at"),
        Index(None, "runner_id", "ended_at"),
        # What runs now in an organization, whatever has ended.
        Index("ix_attempts_live_organization_id", "organization_id", sqlite_where=_IS_LIVE, postgresql_where=_IS_LIVE),
    )
    scan_id: Mapped[ScanId] = mapped_column(ForeignKey("scans.id"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    organization_id: Mapped[OrganizationId] = mapped_column(ForeignKey("organizations.id"))
    target_id: Mapped[TargetId] = mapped_column(ForeignKey("targets.id"))
    runner_id: Mapped[RunnerId] = mapped_column(ForeignKey("runners.id"))
    nonce: Mapped[str] = mapped_column(String(128))
    job_token_prefix: Mapped[str] = mapped_column(String(12), unique=True)
    job_token_sha256: Mapped[str] = mapped_column(String(64))
    assigned_at: Mapped[datetime]
    heard_at: Mapped[datetime]
    renewed_at: Mapped[datetime]
    lease_expires_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    preflight: Mapped[dict[str, Any] | None]
    runtime_metadata: Mapped[dict[str, Any] | None]
    last_seq: Mapped[int]
    # Which of its events stand for others that are missing, as the log's answer has them.
    log_gaps: Mapped[list[Any] | None] = mapped_column(JSON(none_as_null=True))
    ended_at: Mapped[datetime | None]
    end_reason: Mapped[str | None] = mapped_column(String(30))
    finish: Mapped[dict[str, Any] | None]
    # From when on it is certain that this attempt sends nothing to the target any more; empty while it may.
    silent_at: Mapped[datetime | None]


class ScanEventRow(Table):
    __tablename__ = "scan_events"
    scan_id: Mapped[ScanId] = mapped_column(ForeignKey("scans.id"), primary_key=True)
    attempt: Mapped[int] = mapped_column(primary_key=True)
    seq: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[datetime]
    type: Mapped[str] = mapped_column(String(10))
    body: Mapped[dict[str, Any]]


class SupersededEventRow(Table):
    """What an attempt sent after it had lost its lease: kept as evidence, never part of the scan."""

    __tablename__ = "superseded_events"
    id: Mapped[int] = mapped_column(_COUNTER, primary_key=True, autoincrement=True)
    scan_id: Mapped[ScanId] = mapped_column(ForeignKey("scans.id"), index=True)
    attempt: Mapped[int]
    received_at: Mapped[datetime]
    events: Mapped[list[str]]


class ScheduleRow(Table):
    """When a target is scanned by itself. What is due is found by `next_run_at`, which was decided at `decided_at`."""

    __tablename__ = "schedules"
    __table_args__ = (Index(None, "organization_id", "created_at"),)
    id: Mapped[ScheduleId] = mapped_column(primary_key=True)
    organization_id: Mapped[OrganizationId] = mapped_column(ForeignKey("organizations.id"))
    target_id: Mapped[TargetId] = mapped_column(ForeignKey("targets.id", ondelete="CASCADE"), index=True)
    runner_id: Mapped[RunnerId | None] = mapped_column(ForeignKey("runners.id"))
    frequency: Mapped[str | None] = mapped_column(String(10))
    hour: Mapped[int | None]
    minute: Mapped[int | None]
    day_of_week: Mapped[int | None]
    day_of_month: Mapped[int | None]
    cron: Mapped[str | None] = mapped_column(String(100))
    time_zone: Mapped[str] = mapped_column(String(64))
    since: Mapped[datetime]
    model_preset: Mapped[str] = mapped_column(String(10))
    when_unavailable: Mapped[str] = mapped_column(String(10))
    if_missed: Mapped[str] = mapped_column(String(10))
    enabled: Mapped[bool]
    next_run_at: Mapped[datetime | None] = mapped_column(index=True)
    decided_at: Mapped[datetime] = mapped_column(index=True)
    # The run that could not be started when it was due and is to be caught up, and when somebody next tries.
    owed_due_at: Mapped[datetime | None]
    owed_try_at: Mapped[datetime | None] = mapped_column(index=True)
    created_at: Mapped[datetime]


class ScheduleRunRow(Table):
    """What became of one run. Its key keeps two processes, and a clock that goes back, from starting it twice."""

    __tablename__ = "schedule_runs"
    schedule_id: Mapped[ScheduleId] = mapped_column(ForeignKey("schedules.id", ondelete="CASCADE"), primary_key=True)
    due_at: Mapped[datetime] = mapped_column(primary_key=True, index=True)
    judged_at: Mapped[datetime]
    outcome: Mapped[str] = mapped_column(String(10))
    reason_code: Mapped[str | None] = mapped_column(String(60))
    reason: Mapped[str] = mapped_column(Text)
    scan_id: Mapped[ScanId | None] = mapped_column(ForeignKey("scans.id"))


class FindingRow(Table):
    """One flaw of one target over all scans, known by its fingerprint."""

    __tablename__ = "findings"
    __table_args__ = (
        UniqueConstraint("target_id", "fingerprint"),
        Index(None, "organization_id", "last_seen_at"),
        # Those of which the timed duty has to know the end.
        Index(
            "ix_findings_accepted_until",
            "accepted_until",
            sqlite_where=_IS_ACCEPTED_FOR_A_TIME,
            postgresql_where=_IS_ACCEPTED_FOR_A_TIME,
        ),
    )
    id: Mapped[FindingId] = mapped_column(primary_key=True)
    organization_id: Mapped[OrganizationId] = mapped_column(ForeignKey("organizations.id"))
    target_id: Mapped[TargetId] = mapped_column(ForeignKey("targets.id"))
    fingerprint: Mapped[str] = mapped_column(String(64))
    severity: Mapped[str] = mapped_column(String(10))
    user_status: Mapped[str] = mapped_column(String(20))
    # When an accepted risk ends; empty where none was named.
    accepted_until: Mapped[datetime | None]
    last_scan_id: Mapped[ScanId] = mapped_column(ForeignKey("scans.id"))
    first_seen_at: Mapped[datetime]
    last_seen_at: Mapped[datetime]
    content: Mapped[dict[str, Any]]


class SightingRow(Table):
    """A finding as one attempt of one scan saw it."""

    __tablename__ = "sightings"
    __table_args__ = (Index(None, "finding_id"),)
    scan_id: Mapped[ScanId] = mapped_column(ForeignKey("scans.id"), primary_key=True)
    attempt: Mapped[int] = mapped_column(primary_key=True)
    finding_id: Mapped[FindingId] = mapped_column(ForeignKey("findings.id"), primary_key=True)
    severity: Mapped[str] = mapped_column(String(10))
    content: Mapped[dict[str, Any]]


class ReportRow(Table):
    """The report of an ended scan, as it was when it was written. Its files lie beside it, so that any process can serve them."""

    __tablename__ = "reports"
    __table_args__ = (Index("ix_reports_unset", "written_at", sqlite_where=_IS_UNSET, postgresql_where=_IS_UNSET),)
    scan_id: Mapped[ScanId] = mapped_column(ForeignKey("scans.id"), primary_key=True)
    organization_id: Mapped[OrganizationId] = mapped_column(ForeignKey("organizations.id"))
    domain: Mapped[str] = mapped_column(String(300))
    written_at: Mapped[datetime]
    summary: Mapped[dict[str, Any]]
    # Zero once its PDF is there, or was tried too often; after a try that failed it is left alone until it is due.
    pdf_tries_left: Mapped[int]
    pdf_due_at: Mapped[datetime | None]
    # Why, for each format that could not be made.
    not_made: Mapped[dict[str, Any] | None]


class ReportFileRow(Table):
    """One format of a report, compressed (zlib). `sha256` is that of the file itself."""

    __tablename__ = "report_files"
    scan_id: Mapped[ScanId] = mapped_column(ForeignKey("reports.scan_id"), primary_key=True)
    format: Mapped[str] = mapped_column(String(10), primary_key=True)
    sha256: Mapped[str] = mapped_column(String(64))
    content: Mapped[bytes]


class FindingHistoryRow(Table):
    """What became of a finding's status and why; also what a retest saw of it without changing it."""

    __tablename__ = "finding_history"
    __table_args__ = (Index(None, "finding_id", "id"),)
    id: Mapped[int] = mapped_column(_COUNTER, primary_key=True, autoincrement=True)
    finding_id: Mapped[FindingId] = mapped_column(ForeignKey("findings.id"))
    at: Mapped[datetime]
    actor: Mapped[str] = mapped_column(String(80))
    cause: Mapped[str] = mapped_column(String(10))
    from_status: Mapped[str] = mapped_column(String(20))
    to_status: Mapped[str] = mapped_column(String(20))
    note: Mapped[str | None] = mapped_column(String(1000))
    until: Mapped[datetime | None]
    scan_id: Mapped[ScanId | None]


class RetestRow(Table):
    """How a retest ended for one finding."""

    __tablename__ = "retests"
    scan_id: Mapped[ScanId] = mapped_column(ForeignKey("scans.id"), primary_key=True)
    finding_id: Mapped[FindingId] = mapped_column(ForeignKey("findings.id"), primary_key=True)
    outcome: Mapped[str] = mapped_column(String(20))
    reason: Mapped[str] = mapped_column(String(1000))


class AuditRow(Table):
    __tablename__ = "audit_events"
    __table_args__ = (
        Index(None, "organization_id", "at"),
        Index("ix_audit_events_of_runner", "subject_id", "at", sqlite_where=_IS_OF_RUNNER, postgresql_where=_IS_OF_RUNNER),
    )
    id: Mapped[str] = mapped_column(_ID, primary_key=True)
    organization_id: Mapped[OrganizationId] = mapped_column(ForeignKey("organizations.id"))
    at: Mapped[datetime]
    actor: Mapped[str] = mapped_column(String(80))
    action: Mapped[str] = mapped_column(String(60))
    subject_type: Mapped[str] = mapped_column(String(30))
    subject_id: Mapped[str] = mapped_column(String(64))
    details: Mapped[dict[str, Any]]
    request_id: Mapped[str | None] = mapped_column(String(64))


class ControlPlaneRow(Table):
    """The one row about all server processes together."""

    __tablename__ = "control_plane"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    amnesty_until: Mapped[datetime]


class StreamRow(Table):
    """An event of the organization's live stream; its number is what `Last-Event-ID` resumes from."""

    __tablename__ = "stream_events"
    # SQLite would give the number of a forgotten event to a new one, which no client that has seen more would ever be shown.
    __table_args__ = (Index(None, "organization_id", "id"), {"sqlite_autoincrement": True})
    id: Mapped[int] = mapped_column(_COUNTER, primary_key=True, autoincrement=True)
    organization_id: Mapped[OrganizationId] = mapped_column(ForeignKey("organizations.id"))
    at: Mapped[datetime] = mapped_column(index=True)
    type: Mapped[str] = mapped_column(String(40))
    data: Mapped[dict[str, Any]]


class WebhookRow(Table):
    """A receiver of the organization's events. `kind` notify: a service of the operator's, known by the digest of its address."""

    __tablename__ = "webhooks"
    __table_args__ = (Index(None, "organization_id", "kind", "created_at"),)
    id: Mapped[str] = mapped_column(_ID, primary_key=True)
    organization_id: Mapped[OrganizationId] = mapped_column(ForeignKey("organizations.id"))
    kind: Mapped[str] = mapped_column(String(10))
    url: Mapped[str] = mapped_column(String(2000))
    events: Mapped[list[str]]
    description: Mapped[str | None] = mapped_column(String(1000))
    enabled: Mapped[bool]
    disabled_reason: Mapped[str | None] = mapped_column(String(200))
    # The newest first, encrypted, each with the time until which messages are signed with it.
    secrets: Mapped[list[Any]] = mapped_column(JSON)
    failing_since: Mapped[datetime | None]
    # The number of the last event of the live stream that has been put into the queue, or passed over.
    seen: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[datetime]


class DeliveryRow(Table):
    """One message for one webhook, from the queue to the log. Its number is its place in the order of its subject."""

    __tablename__ = "webhook_deliveries"
    __table_args__ = (
        Index(None, "webhook_id", "number"),
        # What is due, and what comes first of one subject, whatever is in the log.
        Index("ix_webhook_deliveries_due", "next_attempt_at", sqlite_where=_IS_OPEN, postgresql_where=_IS_OPEN),
        Index("ix_webhook_deliveries_order", "webhook_id", "subject", "number", sqlite_where=_IS_OPEN, postgresql_where=_IS_OPEN),
        # What a receiver was told of one subject lately.
        Index("ix_webhook_deliveries_told", "webhook_id", "subject", "told_at"),
        Index("ix_webhook_deliveries_log", "finished_at", sqlite_where=_IS_FINISHED, postgresql_where=_IS_FINISHED),
    )
    number: Mapped[int] = mapped_column(_COUNTER, primary_key=True, autoincrement=True)
    id: Mapped[str] = mapped_column(_ID, unique=True)
    webhook_id: Mapped[str] = mapped_column(ForeignKey("webhooks.id"))
    event: Mapped[str] = mapped_column(String(40))
    subject: Mapped[str] = mapped_column(String(80))
    event_at: Mapped[datetime]
    told_at: Mapped[datetime]
    body: Mapped[str] = mapped_column(Text)
    is_transition: Mapped[bool]
    # Waits for those before it of the same subject; what is sent again by hand does not.
    is_ordered: Mapped[bool]
    status: Mapped[str] = mapped_column(String(10))
    attempts: Mapped[int]
    # While it is being sent: when another process may take it over.
    next_attempt_at: Mapped[datetime | None]
    last_attempt_at: Mapped[datetime | None]
    response_status: Mapped[int | None]
    duration_ms: Mapped[int | None]
    error: Mapped[str | None] = mapped_column(String(300))
    finished_at: Mapped[datetime | None]
