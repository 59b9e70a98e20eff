"""The daemon API: what a runner sends and what it is told."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from apviso.protocol.findings import MAX_RETESTED, Finding
from apviso.protocol.limits import Limits
from apviso.protocol.runners import MAX_CONCURRENCY, Labels
from apviso.protocol.scan_events import Coverage, FindingLook, ScanEvent
from apviso.protocol.states import CANCELLED_REASONS, COMPLETED_REASONS, AdminState, EndReason, ModelPreset, RunnerStatus, ScanStatus
from apviso.protocol.targets import JobTarget
from apviso.protocol.wire import MAX_ID_LENGTH, Facts, Instant, JobId, Name, RunnerId, ScanId, Text, Wire

PROTOCOL_VERSION = 1
MAX_EVENTS_IN_A_BATCH = 1_000
MAX_CLAIM_WAIT_SECONDS = 60
MAX_CURRENT_JOBS = 1_000
MOST_AMOUNT = 2**53

Version = Annotated[Text, Field(min_length=1, max_length=64)]
Word = Annotated[Text, Field(max_length=64)]
Opaque = Annotated[Text, Field(min_length=1, max_length=128)]
Attempt = Annotated[int, Field(ge=1, le=2**31 - 1)]
Amount = Annotated[int, Field(ge=0, le=MOST_AMOUNT)]
Sentence = Annotated[Text, Field(max_length=2000)]


class Registration(Wire):
    """`exchange_key` is random and kept by the runner, so that a lost answer can be asked for again."""

    # Longer than any token: what is none of ours is told so by its own code.
    enrollment_token: Annotated[Text, Field(max_length=4096)]
    exchange_key: Annotated[Text, Field(min_length=1, max_length=256)] | None = None
    name: Name | None = None
    version: Version
    protocol_version: Annotated[int, Field(ge=1, le=1000)] = PROTOCOL_VERSION
    os: Word = ""
    arch: Word = ""
    container_engine: Word = ""
    configured_concurrency: Annotated[int, Field(ge=1, le=MAX_CONCURRENCY)] = 1
    provider_state: Facts = {}
    capabilities: Facts = {}
    labels: Labels = []

    def __repr_args__(self) -> list[tuple[str | None, object]]:
        hidden = {"enrollment_token", "exchange_key"}
        return [(name, "[redacted]" if name in hidden else value) for name, value in super().__repr_args__()]


class RegisteredRunner(Wire):
    id: RunnerId
    name: str


class Registered(Wire):
    token: str = Field(repr=False)
    runner: RegisteredRunner
    heartbeat_interval_ms: Amount
    server_time: Instant


class RunningJob(Wire):
    job_id: Annotated[Text, Field(max_length=64)]
    attempt: Attempt


class Heartbeat(Wire):
    boot_id: Opaque
    beat_seq: Amount
    version: Version
    os: Word | None = None
    arch: Word | None = None
    container_engine: Word | None = None
    configured_concurrency: Annotated[int, Field(ge=1, le=MAX_CONCURRENCY)] = 1
    current_jobs: Annotated[int, Field(ge=0, le=MAX_CURRENT_JOBS)] = 0
    running_jobs: Annotated[list[RunningJob], Field(max_length=1000)] = []
    provider_state: Facts = {}
    capabilities: Facts = {}
    health: Facts = {}
    last_claim_poll_age_ms: Amount | None = None


class Directives(Wire):
    """What the server wants of the runner. `cancel_jobs` holds job ids; without a time, the minimum version counts at once."""

    cancel_jobs: list[Annotated[JobId, Field(max_length=MAX_ID_LENGTH)]] = []
    admin_state: AdminState = AdminState.ENABLED
    drain_deadline: Instant | None = None
    rotate_token: bool = False
    minimum_version: Word | None = None
    minimum_version_from: Instant | None = None


class BeatingRunner(Wire):
    id: RunnerId
    status: RunnerStatus


class HeartbeatAnswer(Wire):
    runner: BeatingRunner
    heartbeat_interval_ms: Amount
    directives: Directives
    server_time: Instant


class Claim(Wire):
    """`known_cancels` names the cancelled jobs that the runner already knows of; one that is not named ends the wait at once.

    Left out, those that are cancelled when the wait begins count as known.
    """

    nonce: Opaque
    free_slots: Annotated[int, Field(ge=0, le=1000)] = 1
    known_cancels: Annotated[list[Annotated[Text, Field(max_length=64)]], Field(max_length=1000)] | None = None


class ClaimedJob(Wire):
    id: JobId
    runner_id: RunnerId
    attempt: Attempt
    lease_seconds: Amount
    renew_after_seconds: Amount


class ClaimedScan(Wire):
    id: ScanId
    model_preset: ModelPreset
    is_retest: bool
    retest_findings: list[Finding] = []


class ScanImage(Wire):
    ref: str
    digest: str
    signature: str | None = None


class Job(Wire):
    """Everything a runner needs to run one attempt of a scan."""

    job: ClaimedJob
    scan: ClaimedScan
    target: JobTarget
    image: ScanImage | None
    limits: Limits
    job_token: str = Field(repr=False)


class ClaimAnswer(Wire):
    """`not_accepting` says why no job can be given to this runner now; null where it only has to wait for one."""

    job: Job | None
    not_accepting: str | None = None
    directives: Directives = Directives()


class AttemptCall(Wire):
    attempt: Attempt


class LeaseAnswer(Wire):
    lease_expires_at: Instant
    lease_seconds: Amount
    cancel_requested_at: Instant | None


class PreflightCheck(Wire):
    ok: bool
    message: Sentence = ""
    remediation: Sentence | None = None


class Preflight(AttemptCall):
    ok: bool
    checks: Annotated[dict[Word, PreflightCheck], Field(max_length=64)] = {}
    error_code: Word | None = None
    error_message: Sentence | None = None


class Start(AttemptCall):
    runtime_metadata: Facts = {}


class JobState(Wire):
    """Where the scan stands after a call for its job."""

    scan_id: ScanId
    status: ScanStatus
    cancel_requested_at: Instant | None = None


class EventBatch(AttemptCall):
    events: Annotated[list[ScanEvent], Field(max_length=MAX_EVENTS_IN_A_BATCH)]


class EventsAnswer(Wire):
    acked_seq: Amount
    cancel_requested_at: Instant | None = None


class Finish(AttemptCall):
    status: Literal["completed", "failed", "cancelled"]
    end_reason: EndReason
    error_code: Word | None = None
    error_message: Sentence | None = None
    last_seq: Annotated[int, Field(ge=0, le=2**31 - 1)]
    coverage: Coverage = Coverage(complete=False, reasons=["coverage_not_reported"])
    looks: Annotated[list[FindingLook], Field(max_length=MAX_RETESTED)] = []
    runtime_metadata: Facts = {}

    @model_validator(mode="after")
    def _reason_fits_status(self) -> Finish:
        if (self.status == "completed") != (self.end_reason in COMPLETED_REASONS):
            raise ValueError(f"endReason {self.end_reason} does not go with status {self.status}")
        if (self.status == "cancelled") != (self.end_reason in CANCELLED_REASONS):
            raise ValueError(f"endReason {self.end_reason} does not go with status {self.status}")
        return self


class NewRunnerToken(Wire):
    """`previous_valid_until`: the token used for this call works until the new one is first used, at most this long."""

    token: str = Field(repr=False)
    token_prefix: str
    previous_valid_until: Instant


class Goodbye(Wire):
    boot_id: Opaque | None = None
    reason: Sentence | None = None


class GoodbyeAnswer(Wire):
    released_jobs: list[JobId]


class HostAnswer(Wire):
    """What is wanted of the runner now, after somebody at its host had a say."""

    admin_state: AdminState
    admin_note: str | None
    admin_until: Instant | None
    drain_deadline: Instant | None
