"""One example of every answer, built from the wire models themselves so that it cannot drift from them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import cache

from pydantic import JsonValue

from apviso.protocol import (
    access,
    daemon,
    findings,
    licenses,
    limits,
    readiness,
    runners,
    scan_events,
    scans,
    schedules,
    targets,
    verification,
    webhooks,
)
from apviso.protocol.states import (
    AdminState,
    EndReason,
    HistoryCause,
    LicenseState,
    ModelPreset,
    RetestOutcome,
    RunnerStatus,
    ScanStatus,
    Scope,
    Severity,
    UserStatus,
    Visibility,
)
from apviso.protocol.timers import Timers
from apviso.protocol.wire import FindingId, JobId, OrganizationId, RunnerId, ScanId, ScheduleId, TargetId, Wire
from apviso.server.health import Health
from apviso.server.reports import as_markdown, formats
from apviso.server.reports.document import build, summary
from apviso.server.runners.presence import PresencePolicy, limits_of

NOW = datetime(2026, 5, 3, 9, 15, 32, tzinfo=UTC)
RUNNER, TARGET = RunnerId("019de1f0-3a00-7c41-8d52-6b1f0a7e4c01"), TargetId("019de1f0-3a00-7c41-8d52-6b1f0a7e4c02")
SCAN, JOB = ScanId("019de1f0-3a00-7c41-8d52-6b1f0a7e4c03"), JobId("019de1f0-3a00-7c41-8d52-6b1f0a7e4c04")
FINDING = FindingId("019de1f0-3a00-7c41-8d52-6b1f0a7e4c05")
SCHEDULE = ScheduleId("019de1f0-3a00-7c41-8d52-6b1f0a7e4c08")
KEY, EVENT = "019de1f0-3a00-7c41-8d52-6b1f0a7e4c06", "019de1f0-3a00-7c41-8d52-6b1f0a7e4c07"
HOOK, SENT = "019de1f0-3a00-7c41-8d52-6b1f0a7e4c08", "019de1f0-3a00-7c41-8d52-6b1f0a7e4c09"
PREFIX, SITE = "a1b2c3d4e5f6", "https://intranet.example.com"
FIRST = {"total": 1, "page": 1, "limit": 50, "total_pages": 1}

LICENSE = licenses.License(
    plan="team",
    license_state=LicenseState.ACTIVE,
    can_register_runner=True,
    can_start_self_hosted_scan=True,
    can_scan_private_target=True,
    runner_limit=10,
    concurrent_job_limit=10,
    target_limit=25,
    allowed_target_visibilities=[Visibility.PUBLIC, Visibility.STAGING_PREVIEW, Visibility.PRIVATE_INTERNAL, Visibility.LOCALHOST],
)
RUNNER_SHOWN = runners.Runner(
    id=RUNNER,
    name="prod-runner-1",
    token_prefix=PREFIX,
    status=RunnerStatus.ONLINE,
    status_reasons=[],
    admin_state=AdminState.ENABLED,
    accepting_jobs=True,
    version="0.1.0",
    protocol_version=daemon.PROTOCOL_VERSION,
    os="linux",
    arch="x86_64",
    labels=["datacenter-1"],
    ephemeral=False,
    container_engine="docker",
    configured_concurrency=1,
    current_jobs=0,
    provider_state={"modelProvider": "openai-codex", "embeddingProvider": "local"},
    capabilities={"localProviderSecrets": True, "localTargetAuthConfig": True},
    health={"diskFreeBytes": 81_604_378_624},
    last_heartbeat_at=NOW,
    created_at=NOW - timedelta(days=30),
)
CHECK = readiness.Check(
    code=readiness.CheckCode.RUNNER_ONLINE, ok=True, message="A runner is online.", observed=1, required=1, fix=None
)  # fmt: skip
READY = readiness.Readiness(
    ready=True,
    visibility=Visibility.PRIVATE_INTERNAL,
    visibility_ok=True,
    runner_ok=True,
    capacity_ok=True,
    selected_runner_id=RUNNER,
    reason=None,
    primary_blocker=None,
    checks=[CHECK],
    estimated_start_at=NOW,
    license=LICENSE,
    runners=[
        readiness.RunnerSummary(id=RUNNER, name="prod-runner-1", status=RunnerStatus.ONLINE, configured_concurrency=1, current_jobs=0)
    ],
)
TARGET_SHOWN = targets.Target(
    id=TARGET,
    domain="intranet.example.com",
    display_url=SITE,
    scan_url=f"{SITE}/app",
    visibility=Visibility.PRIVATE_INTERNAL,
    verified=False,
    verified_at=None,
    verification_method=None,
    verification_checked_at=None,
    verification_error=None,
    last_scan_at=None,
    open_findings=findings.FindingCounts(high=1),
    created_at=NOW,
)
PROOF = f"apviso-challenge={'0123456789abcdef' * 2}"
INSTRUCTIONS = verification.VerificationInstructions(
    target_id=TARGET,
    host="shop.example.com",
    needed=True,
    reason="Control of public targets has to be proved before they can be scanned.",
    dns_txt=verification.DnsTxtInstructions(
        record_name="_apviso-challenge.shop.example.com", record_value=PROOF, text="Add a TXT record with this name and value."
    ),
    file=verification.FileInstructions(
        path="/.well-known/apviso-challenge.txt",
        content=PROOF,
        urls=["https://shop.example.com/.well-known/apviso-challenge.txt", "http://shop.example.com/.well-known/apviso-challenge.txt"],
        text="Serve a file at this path with this line.",
    ),
    meta_tag=verification.MetaTagInstructions(
        tag=f'<meta name="apviso-challenge" content="{PROOF.partition("=")[2]}">',
        urls=["https://shop.example.com/", "http://shop.example.com/"],
        text="Put this tag into the head of the start page.",
    ),
)
TARGET_SENT = targets.JobTarget(
    id=TARGET, domain="intranet.example.com", display_url=SITE, scan_url=f"{SITE}/app", visibility=Visibility.PRIVATE_INTERNAL
)
SCAN_SHOWN = scans.Scan(
    id=SCAN,
    target_id=TARGET,
    target_domain="intranet.example.com",
    status=ScanStatus.COMPLETED,
    status_reason=None,
    end_reason=EndReason.COMPLETED,
    runner_id=RUNNER,
    runner_name="prod-runner-1",
    attempt=1,
    target_visibility=Visibility.PRIVATE_INTERNAL,
    scan_image_digest=None,
    model_preset=ModelPreset.LOW,
    is_retest=False,
    parent_scan_id=None,
    progress=scans.ScanProgress(phase="report", percent=100, requests=612),
    coverage=scan_events.Coverage(complete=True),
    finding_counts=findings.FindingCounts(high=1),
    waiting_for=None,
    created_at=NOW,
    started_at=NOW + timedelta(seconds=1),
    finished_at=NOW + timedelta(minutes=2),
)
SCAN_JOB = scans.ScanJob(id=JOB, scan_id=SCAN, status=ScanStatus.PENDING_RUNNER, attempt=0, runner_id=None)
QUEUED = SCAN_SHOWN.model_copy(
    update={
        "status": ScanStatus.PENDING_RUNNER,
        "end_reason": None,
        "runner_id": None,
        "runner_name": None,
        "attempt": 0,
        "progress": scans.ScanProgress(),
        "coverage": None,
        "finding_counts": findings.FindingCounts(),
        "started_at": None,
        "finished_at": None,
    }
)
FINDING_SHOWN = findings.Finding(
    id=FINDING,
    scan_id=SCAN,
    fingerprint="5f2d8c1e9b7a4036",
    title="SQL injection in parameter q",
    severity=Severity.HIGH,
    cvss_score=8.6,
    cvss_vector="CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:L/A:L",
    cwe_id=89,
    description="The parameter is put into a database statement unescaped.",
    evidence="GET /app/search?q=%27",
    reproduction=["Request /app/search?q=%27 and see the database error."],
    remediation="Use bound parameters.",
    url=f"{SITE}/app/search",
    method="GET",
    parameter="q",
    detectors=["wapiti:sql"],
    user_status=UserStatus.OPEN,
    first_seen_at=NOW,
    last_seen_at=NOW,
    target_id=TARGET,
)
STATUS_CHANGE = findings.StatusChange(
    at=NOW,
    actor=PREFIX,
    cause=HistoryCause.PERSON,
    from_status=UserStatus.OPEN,
    to_status=UserStatus.ACCEPTED_RISK,
    note="behind VPN only",
    until=NOW + timedelta(days=90),
    scan_id=None,
)
REPORT = build(SCAN_SHOWN, TARGET_SENT, [FINDING_SHOWN], None, NOW + timedelta(minutes=2), "APVISO Runners 0.1.0")
SCHEDULE_RUN = schedules.ScheduleRun(
    due_at=NOW,
    judged_at=NOW,
    outcome=schedules.RunOutcome.SKIPPED,
    reason_code="scan_already_active",
    reason="A scan of this target is active already.",
    scan_id=None,
)
SCHEDULE_SHOWN = schedules.DetailedSchedule(
    id=SCHEDULE,
    target_id=TARGET,
    runner_id=None,
    frequency=schedules.Frequency.WEEKLY,
    hour=2,
    minute=30,
    day_of_week=0,
    day_of_month=None,
    cron=None,
    time_zone="Europe/Berlin",
    model_preset=ModelPreset.LOW,
    when_unavailable="queue",
    if_missed=schedules.IfMissed.SKIP,
    enabled=True,
    next_run_at=datetime(2026, 5, 10, 0, 30, tzinfo=UTC),
    next_runs=[datetime(2026, 5, 10, 0, 30, tzinfo=UTC) + timedelta(weeks=number) for number in range(5)],
    created_at=NOW,
    last_run=SCHEDULE_RUN,
)
API_KEY = access.ApiKey(
    id=KEY,
    name="ci",
    key_prefix=PREFIX,
    scopes=[Scope.SCANS_ALL, Scope.TARGETS_READ],
    created_at=NOW,
    expires_at=None,
    last_used_at=None,
)
AUDIT_EVENT = access.AuditEvent(
    id=EVENT,
    at=NOW,
    actor=PREFIX,
    action="target.created",
    subject_type="target",
    subject_id=TARGET,
    details={"domain": "intranet.example.com"},
    request_id="01890a5d-ac96-774b-bcce-b302099a8057",
)
CLAIMED = daemon.Job(
    job=daemon.ClaimedJob(id=JOB, runner_id=RUNNER, attempt=1, lease_seconds=120, renew_after_seconds=30),
    scan=daemon.ClaimedScan(id=SCAN, model_preset=ModelPreset.LOW, is_retest=False),
    target=TARGET_SENT,
    image=None,
    limits=limits.PRESETS[ModelPreset.LOW],
    job_token=f"apvj_{PREFIX}_redacted",
)
ENROLLMENT = runners.EnrollmentToken(
    token_prefix=PREFIX, name="prod-runner-1", labels=[], ephemeral=False, created_at=NOW, expires_at=NOW + timedelta(minutes=30)
)

WEBHOOK = webhooks.Webhook(
    id=HOOK,
    url="https://hooks.example.com/apviso",
    events=["runner.offline", "runner.recovered"],
    description=None,
    enabled=True,
    disabled_reason=None,
    failing_since=None,
    previous_secrets_until=None,
    created_at=NOW,
)
DELIVERY = webhooks.Delivery(
    id=SENT,
    message_id=f"msg_{SENT}",
    event="runner.offline",
    subject=f"runner:{RUNNER}",
    event_at=NOW,
    status=webhooks.DeliveryStatus.PENDING,
    attempts=1,
    last_attempt_at=NOW,
    next_attempt_at=NOW + timedelta(seconds=5),
    response_status=500,
    duration_ms=31,
    error="The receiver answered 500.",
    finished_at=None,
)

ANSWERS: tuple[Wire, ...] = (
    Health(status="ok"),
    runners.RunnerList(runners=[RUNNER_SHOWN], readiness=READY, total=1),
    runners.RunnerAnswer(runner=RUNNER_SHOWN),
    runners.RunnerHistory(
        intervals=[runners.StatusInterval(status=RunnerStatus.ONLINE, reasons=[], since=NOW, until=None)],
        uptime_ratio=1,
        heartbeat_gaps=[],
        limits=limits_of(PresencePolicy(Timers(), NOW)),
    ),
    runners.RunnerHealth(
        since=NOW - timedelta(hours=24),
        sample_seconds=900,
        samples=[
            runners.HealthSample(
                at=NOW,
                disk_free_bytes=107_374_182_400,
                memory_available_bytes=6_442_450_944,
                load_percent=35,
                clock_skew_ms=3,
                spool_backlog_bytes=0,
            )
        ],
    ),
    runners.UptimeList(
        since=NOW - timedelta(hours=24), bar_seconds=900, runners=[runners.RunnerUptime(id=RUNNER, bars="-" * 40 + "o" * 56)], **FIRST
    ),
    runners.TokenOutcomeAnswer(
        outcome=runners.TokenOutcome(
            **ENROLLMENT.model_dump(), status=runners.TokenStatus.USED, ended_at=NOW + timedelta(minutes=4), runner_id=RUNNER
        )
    ),
    runners.IssuedEnrollmentToken(token=f"apve_{PREFIX}_redacted", token_prefix=PREFIX, expires_at=NOW + timedelta(minutes=30)),
    runners.EnrollmentTokenAnswer(enrollment_token=ENROLLMENT),
    runners.EnrollmentTokenList(enrollment_tokens=[ENROLLMENT], **FIRST),
    READY,
    targets.TargetAnswer(target=TARGET_SHOWN),
    targets.TargetList(targets=[TARGET_SHOWN], **FIRST),
    verification.VerificationInstructionsAnswer(instructions=INSTRUCTIONS),
    targets.JobTargetAnswer(target=TARGET_SENT),
    targets.JobTargetList(targets=[TARGET_SENT]),
    scans.CreatedScan(scan=QUEUED, job=SCAN_JOB),
    scans.ScanAnswer(scan=SCAN_SHOWN),
    scans.ScanList(scans=[SCAN_SHOWN], **FIRST),
    schedules.ScheduleAnswer(schedule=SCHEDULE_SHOWN),
    schedules.ScheduleList(schedules=[schedules.Schedule(**SCHEDULE_SHOWN.model_dump(exclude={"next_runs"}))], **FIRST),
    schedules.ScheduleRunList(runs=[SCHEDULE_RUN], **FIRST),
    scans.AttemptList(
        attempts=[
            scans.Attempt(
                number=1,
                runner_id=RUNNER,
                runner_name="prod-runner-1",
                assigned_at=NOW,
                started_at=NOW + timedelta(seconds=1),
                ended_at=NOW + timedelta(minutes=2),
                end_reason=EndReason.COMPLETED,
                message=None,
                last_seq=1,
            )
        ]
    ),
    scans.ScanLoad(moments=[scans.Load(at=NOW, running=1, queued=2)]),
    scans.ScanLog(
        attempt=1,
        events=[{"seq": 1, "attempt": 1, "at": "2026-05-03T09:15:33Z", "type": "log", "level": "info", "message": "started"}],
        last_seq=1,
    ),
    scans.ReportAnswer(
        report=scans.Report(
            markdown_content=as_markdown.render(REPORT),
            pdf_url=formats.path(SCAN, formats.Format.PDF),
            html_url=formats.path(SCAN, formats.Format.HTML),
            sarif_url=formats.path(SCAN, formats.Format.SARIF),
            markdown_url=formats.path(SCAN, formats.Format.MARKDOWN),
            csv_url=formats.path(SCAN, formats.Format.CSV),
            json_url=formats.path(SCAN, formats.Format.JSON),
            summary=summary(REPORT),
        )
    ),
    REPORT,
    scans.ReportPending(status=ScanStatus.RUNNING, progress=scans.ScanProgress(phase="attack", percent=40, requests=240)),
    findings.FindingAnswer(finding=FINDING_SHOWN),
    findings.FindingList(findings=[FINDING_SHOWN], **FIRST),
    findings.FindingHistory(history=[STATUS_CHANGE], **FIRST),
    findings.FindingLooks(
        looks=[findings.Look(scan_id=SCAN, ended_at=NOW, status=ScanStatus.COMPLETED, is_retest=False, complete=True, seen=True)]
    ),
    findings.FindingTrend(days=[findings.DayOfFindings(day=NOW.date(), counts=findings.FindingCounts(high=1))]),
    findings.RetestAnswer(
        results=[
            findings.RetestResult(
                finding_id=FINDING,
                title=FINDING_SHOWN.title,
                severity=Severity.HIGH,
                user_status=UserStatus.FIXED,
                outcome=RetestOutcome.FIXED,
                reason="The retest has looked for it as before and has not seen it.",
            )
        ],
        counts=findings.RetestCounts(fixed=1),
    ),
    licenses.Quota(tier="team", license=LICENSE, usage=licenses.Usage(runners=1, concurrent_jobs=0, targets=1)),
    verification.OrganizationAnswer(
        organization=verification.Organization(id=OrganizationId(KEY), name="Example", requires_verification=True)
    ),
    access.ApiKeyAnswer(api_key=API_KEY),
    access.IssuedApiKey(api_key=API_KEY, key=f"apvk_{PREFIX}_redacted"),
    access.ApiKeyList(api_keys=[API_KEY], **FIRST),
    access.AuditEventList(audit_events=[AUDIT_EVENT], **FIRST),
    webhooks.WebhookAnswer(webhook=WEBHOOK),
    webhooks.IssuedWebhook(webhook=WEBHOOK, secret="whsec_redacted"),  # noqa: S106  # shown in the document
    webhooks.WebhookList(webhooks=[WEBHOOK], **FIRST),
    webhooks.DeliveryAnswer(delivery=DELIVERY),
    webhooks.DeliveryList(deliveries=[DELIVERY], **FIRST),
    daemon.Registered(
        token=f"apvr_{PREFIX}_redacted",
        runner=daemon.RegisteredRunner(id=RUNNER, name="prod-runner-1"),
        heartbeat_interval_ms=15_000,
        server_time=NOW,
    ),
    daemon.HeartbeatAnswer(
        runner=daemon.BeatingRunner(id=RUNNER, status=RunnerStatus.ONLINE),
        heartbeat_interval_ms=15_000,
        directives=daemon.Directives(),
        server_time=NOW,
    ),
    daemon.ClaimAnswer(job=CLAIMED),
    daemon.LeaseAnswer(lease_expires_at=NOW + timedelta(seconds=120), lease_seconds=120, cancel_requested_at=None),
    daemon.JobState(scan_id=SCAN, status=ScanStatus.RUNNING),
    daemon.EventsAnswer(acked_seq=12),
    daemon.HostAnswer(admin_state=AdminState.PAUSED, admin_note="kernel update", admin_until=None, drain_deadline=None),
    daemon.NewRunnerToken(token=f"apvr_{PREFIX}_redacted", token_prefix=PREFIX, previous_valid_until=NOW + timedelta(hours=24)),
    daemon.GoodbyeAnswer(released_jobs=[]),
)


@cache
def examples_by_schema() -> dict[str, JsonValue]:
    """The examples as JSON, by the name of their schema in the document."""
    return {type(answer).__name__: answer.model_dump(mode="json", by_alias=True) for answer in ANSWERS}
