"""Runners and enrollment tokens, as people see them."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from apviso.protocol.readiness import Readiness
from apviso.protocol.states import AdminState, EndReason, RunnerStatus
from apviso.protocol.times import Window, Windows
from apviso.protocol.wire import Facts, Instant, Label, Name, Note, RunnerId, ScanId, Wire

Labels = Annotated[list[Label], Field(max_length=32)]
MAX_CONCURRENCY = 64


class FastFailure(Wire):
    """A scan that ended within moments for a cause of the runner's own. `seconds`: from the claim to the end. `statusReason`: what the
    runner said of it."""

    scan_id: ScanId
    attempt: int
    end_reason: EndReason
    status_reason: str | None
    seconds: float
    at: Instant


class Quarantine(Wire):
    """Why a runner was kept from scans, with the latest failures first.

    From `until` on it gets one scan at a time, until one shows that it works; then this is null again. `number` counts the quarantines
    since it last did.
    """

    since: Instant
    until: Instant
    number: int
    failures: list[FastFailure]


class Boot(Wire):
    """A process of a runner, and the address that its heartbeats came from when it was first heard of after another one."""

    boot_id: str
    address: str | None
    at: Instant


class DuplicateIdentity(Wire):
    """Several machines use one identity: the boots that took turns, the latest first, each with the address it spoke from."""

    seen_at: Instant
    boots: list[Boot]


class Runner(Wire):
    id: RunnerId
    name: str
    token_prefix: str
    status: RunnerStatus
    status_reasons: list[str]
    admin_state: AdminState
    admin_note: str | None = None
    admin_until: Instant | None = None
    drain_deadline: Instant | None = None
    quarantine: Quarantine | None = None
    duplicate_identity: DuplicateIdentity | None = None
    maintenance_windows: list[Window] = []
    accepting_jobs: bool
    version: str
    # When its version is given up, where that was announced: from then on it gets no scans.
    unsupported_from: Instant | None = None
    protocol_version: int
    os: str
    arch: str
    labels: list[str]
    ephemeral: bool
    container_engine: str
    configured_concurrency: int
    max_concurrency: int | None = None
    current_jobs: int
    provider_state: Facts
    capabilities: Facts
    health: Facts
    last_heartbeat_at: Instant | None
    created_at: Instant


class RunnerAnswer(Wire):
    runner: Runner


class RunnerList(Wire):
    runners: list[Runner]
    readiness: Readiness
    total: int | None = None
    page: int | None = None
    limit: int | None = None
    total_pages: int | None = None


class RunnerPatch(Wire):
    name: Name | None = None
    labels: Labels | None = None
    max_concurrency: Annotated[int, Field(ge=1, le=MAX_CONCURRENCY)] | None = None
    # During which it takes no new scan.
    maintenance_windows: Windows | None = None


class Pause(Wire):
    note: Note | None = None
    until: Instant | None = None


class Drain(Wire):
    deadline_seconds: Annotated[int, Field(ge=0, le=7 * 24 * 3600)] | None = None
    note: Note | None = None


class NewEnrollmentToken(Wire):
    name: Name | None = None
    labels: Labels = []
    ephemeral: bool = False
    expires_in_seconds: Annotated[int, Field(ge=300, le=86400)] = 1800


class IssuedEnrollmentToken(Wire):
    """The only answer that ever holds the token."""

    token: str
    token_prefix: str
    expires_at: Instant


class EnrollmentToken(Wire):
    token_prefix: str
    name: str | None
    labels: list[str]
    ephemeral: bool
    created_at: Instant
    expires_at: Instant


class TokenStatus(StrEnum):
    """What has become of an enrollment token."""

    OUTSTANDING = "outstanding"
    USED = "used"
    EXPIRED = "expired"
    REVOKED = "revoked"


class TokenOutcome(Wire):
    """`ended_at` is when it was used or revoked or ran out; `runner_id` is the runner that was enrolled with it."""

    token_prefix: str
    name: str | None
    labels: list[str]
    ephemeral: bool
    status: TokenStatus
    created_at: Instant
    expires_at: Instant
    ended_at: Instant | None
    runner_id: RunnerId | None


class TokenOutcomeAnswer(Wire):
    outcome: TokenOutcome


class EnrollmentTokenAnswer(Wire):
    enrollment_token: EnrollmentToken


class EnrollmentTokenList(Wire):
    enrollment_tokens: list[EnrollmentToken]
    total: int
    page: int
    limit: int
    total_pages: int


class StatusInterval(Wire):
    """A stretch of one status; `until` is null while it lasts."""

    status: RunnerStatus
    reasons: list[str]
    since: Instant
    until: Instant | None


class HeartbeatGap(Wire):
    """A stretch without heartbeats longer than the late limit; `until` is null while it lasts."""

    since: Instant
    until: Instant | None
    seconds: float


class AdminChange(Wire):
    """A pause, drain, quarantine or its end, as the audit trail has it: `note` says why, `until` when it ends by itself."""

    at: Instant
    actor: str
    action: str
    note: str | None
    until: Instant | None
    failures: list[FastFailure] = []


class PresenceLimits(Wire):
    """Against what a runner's status is judged: beyond the seconds, the skew and the backlog, or below the free bytes, it is a fault."""

    heartbeat_late_seconds: float
    offline_seconds: float
    disk_free_bytes: int
    clock_skew_ms: int
    spool_backlog_bytes: int
    minimum_version: str | None
    deprecated_version: str | None


class RunnerHistory(Wire):
    """`uptime_ratio` is the share of the asked time spent online or degraded, 0 to 1; null before the first interval."""

    intervals: list[StatusInterval]
    uptime_ratio: float | None
    heartbeat_gaps: list[HeartbeatGap]
    admin_changes: list[AdminChange] = []
    limits: PresenceLimits | None = None


class HealthSample(Wire):
    """What a runner had last said of itself in the stretch that begins `at`; null is what it did not say.

    `loadPercent`: programs that ran or waited to run, beside the number of processors.
    """

    at: Instant
    disk_free_bytes: int | None
    memory_available_bytes: int | None
    load_percent: int | None
    clock_skew_ms: int | None
    spool_backlog_bytes: int | None


class RunnerHealth(Wire):
    """The last day, oldest first. A stretch in which nothing was heard of the runner has no sample."""

    since: Instant
    sample_seconds: int
    samples: list[HealthSample]


class RunnerUptime(Wire):
    """`bars` has one letter for each stretch of the day, oldest first, for the worst status in it.

    `o` is online, `d` degraded, `x` offline, `r` revoked, `-` not known.
    """

    id: RunnerId
    bars: str


class UptimeList(Wire):
    """The runners of the same page of the list of runners, in its order."""

    since: Instant
    bar_seconds: int
    runners: list[RunnerUptime]
    total: int
    page: int
    limit: int
    total_pages: int
