"""Every closed list of the contract: states, reasons, faults, severities. What each one means is in docs/job-states.md."""

from __future__ import annotations

from enum import StrEnum


class RunnerStatus(StrEnum):
    ONLINE = "online"
    DEGRADED = "degraded"
    OFFLINE = "offline"
    REVOKED = "revoked"


class AdminState(StrEnum):
    ENABLED = "enabled"
    PAUSED = "paused"
    DRAINING = "draining"
    QUARANTINED = "quarantined"


class Fault(StrEnum):
    """Why a runner is degraded."""

    HEARTBEAT_LATE = "heartbeat_late"
    CLAIM_LOOP_STALLED = "claim_loop_stalled"
    DISK_LOW = "disk_low"
    ENGINE_UNREACHABLE = "engine_unreachable"
    CLOCK_SKEW = "clock_skew"
    VERSION_DEPRECATED = "version_deprecated"
    VERSION_UNSUPPORTED = "version_unsupported"
    DUPLICATE_IDENTITY = "duplicate_identity"
    PROVIDER_UNCONFIGURED = "provider_unconfigured"
    FAST_FAILURES = "fast_failures"
    SPOOL_BACKLOG = "spool_backlog"


# A runner with one of these may not claim: what it took it would lose.
BLOCKING_FAULTS = frozenset(
    {Fault.ENGINE_UNREACHABLE, Fault.DISK_LOW, Fault.DUPLICATE_IDENTITY, Fault.VERSION_UNSUPPORTED, Fault.FAST_FAILURES}
)


class Silence(StrEnum):
    """Why a runner is offline."""

    NEVER_CONTACTED = "never_contacted"
    NO_CONTACT = "no_contact"
    SAID_GOODBYE = "said_goodbye"


class Visibility(StrEnum):
    PUBLIC = "public"
    STAGING_PREVIEW = "staging_preview"
    PRIVATE_INTERNAL = "private_internal"
    LOCALHOST = "localhost"
    PARTNER_CLIENT = "partner_client"


# Anyone on the Internet could name these hosts, so control of them has to be proved before a scan.
VISIBILITIES_NEEDING_PROOF = frozenset({Visibility.PUBLIC, Visibility.STAGING_PREVIEW})


class VerificationMethod(StrEnum):
    """How control of a target is proved."""

    DNS_TXT = "dns_txt"
    FILE = "file"
    META_TAG = "meta_tag"


class LicenseState(StrEnum):
    NONE = "none"
    ACTIVE = "active"
    GRACE = "grace"
    EXPIRED = "expired"
    SUSPENDED = "suspended"


class ModelPreset(StrEnum):
    FREE = "free"
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    ULTRA = "ultra"


class ScanStatus(StrEnum):
    PENDING_RUNNER = "pending_runner"
    ASSIGNED = "assigned"
    RUNNING = "running"
    STALE = "stale"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    PREFLIGHT_FAILED = "preflight_failed"


FINAL_STATUSES = frozenset({ScanStatus.COMPLETED, ScanStatus.FAILED, ScanStatus.CANCELLED, ScanStatus.PREFLIGHT_FAILED})
LEASED_STATUSES = frozenset({ScanStatus.ASSIGNED, ScanStatus.RUNNING, ScanStatus.STALE})
ACTIVE_STATUSES = LEASED_STATUSES | {ScanStatus.PENDING_RUNNER}


class EndReason(StrEnum):
    COMPLETED = "completed"
    FINDINGS_THRESHOLD = "findings_threshold"
    TARGET_UNREACHABLE = "target_unreachable"
    AUTH_FAILED = "auth_failed"
    SCOPE_REFUSED = "scope_refused"
    INVALID_CONFIG = "invalid_config"
    PREFLIGHT_FAILED = "preflight_failed"
    PREPARE_TIMEOUT = "prepare_timeout"
    IMAGE_UNAVAILABLE = "image_unavailable"
    IMAGE_REFUSED = "image_refused"
    OUT_OF_MEMORY = "out_of_memory"
    DISK_FULL = "disk_full"
    SCANNER_FAILED = "scanner_failed"
    RUNNER_LOST = "runner_lost"
    RUNNER_SHUTDOWN = "runner_shutdown"
    RUNNER_REVOKED = "runner_revoked"
    ENGINE_UNAVAILABLE = "engine_unavailable"
    RUN_TIMEOUT = "run_timeout"
    QUEUE_TIMEOUT = "queue_timeout"
    CANCELED_BY_USER = "canceled_by_user"
    CANCELED_BY_POLICY = "canceled_by_policy"
    UPLOAD_INCOMPLETE = "upload_incomplete"
    INTERNAL_ERROR = "internal_error"


# Infrastructure causes: trying again elsewhere can help, so these are retried without a person.
RETRIED_REASONS = frozenset(
    {
        EndReason.PREPARE_TIMEOUT,
        EndReason.IMAGE_UNAVAILABLE,
        EndReason.DISK_FULL,
        EndReason.RUNNER_LOST,
        EndReason.RUNNER_SHUTDOWN,
        EndReason.RUNNER_REVOKED,
        EndReason.ENGINE_UNAVAILABLE,
    }
)
COMPLETED_REASONS = frozenset({EndReason.COMPLETED, EndReason.FINDINGS_THRESHOLD})
CANCELLED_REASONS = frozenset({EndReason.CANCELED_BY_USER, EndReason.CANCELED_BY_POLICY})


class Severity(StrEnum):
    CRITICAL = "critical"
    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"
    INFO = "info"


class UserStatus(StrEnum):
    OPEN = "open"
    IN_PROGRESS = "in_progress"
    FIXED = "fixed"
    ACCEPTED_RISK = "accepted_risk"
    FALSE_POSITIVE = "false_positive"


class RetestOutcome(StrEnum):
    """How a retest ends for one finding. `could_not_check` is never taken for fixed."""

    FIXED = "fixed"
    STILL_OPEN = "still_open"
    COULD_NOT_CHECK = "could_not_check"


class HistoryCause(StrEnum):
    """What changed a finding's status, or said something of it."""

    PERSON = "person"
    SCAN = "scan"
    RETEST = "retest"
    EXPIRY = "expiry"


class Scope(StrEnum):
    """What an API key may do. `x:*` is both of x; `admin` is everything."""

    RUNNERS_READ = "runners:read"
    RUNNERS_WRITE = "runners:write"
    RUNNERS_ALL = "runners:*"
    TARGETS_READ = "targets:read"
    TARGETS_WRITE = "targets:write"
    TARGETS_ALL = "targets:*"
    SCANS_READ = "scans:read"
    SCANS_WRITE = "scans:write"
    SCANS_ALL = "scans:*"
    FINDINGS_READ = "findings:read"
    FINDINGS_WRITE = "findings:write"
    FINDINGS_ALL = "findings:*"
    ADMIN = "admin"

    def grants(self, needed: Scope) -> bool:
        """Whether a key with this scope may do what `needed` names."""
        return self is Scope.ADMIN or self is needed or (self.endswith(":*") and needed.startswith(self[:-1]))
