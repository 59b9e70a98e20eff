"""The answer to "why not?": checks with one blocker that matters and its fix."""

from __future__ import annotations

from enum import StrEnum

from pydantic import JsonValue

from apviso.protocol.licenses import License
from apviso.protocol.states import RunnerStatus, Visibility
from apviso.protocol.wire import Instant, RunnerId, Wire


class CheckCode(StrEnum):
    """In the order in which they are judged; the first that fails is the primary blocker."""

    LICENSE_ACTIVE = "license_active"
    VISIBILITY_ALLOWED = "visibility_allowed"
    TARGET_VERIFIED = "target_verified"
    RUNNER_REGISTERED = "runner_registered"
    RUNNER_ONLINE = "runner_online"
    RUNNER_ACCEPTING = "runner_accepting"
    RUNNER_HEALTHY = "runner_healthy"
    RUNNER_COMPATIBLE = "runner_compatible"
    RUNNER_IN_MAINTENANCE = "runner_in_maintenance"
    RUNNER_CAPACITY = "runner_capacity"
    LICENSE_CAPACITY = "license_capacity"
    TARGET_IDLE = "target_idle"
    SCAN_WINDOW_CLOSED = "scan_window_closed"
    RETRY_DELAY = "retry_delay"


class Check(Wire):
    """`observed` and `required` are facts for people and scripts; `fix` is null when the check holds."""

    code: CheckCode
    ok: bool
    message: str
    observed: JsonValue
    required: JsonValue
    fix: str | None


class RunnerSummary(Wire):
    id: RunnerId
    name: str
    status: RunnerStatus
    configured_concurrency: int
    current_jobs: int


class RunnerCounts(Wire):
    """How many runners stand how; revoked ones are not counted."""

    online: int = 0
    degraded: int = 0
    offline: int = 0


class Readiness(Wire):
    """`runners` is left empty where a brief answer was asked for; `runnerCounts` counts all the same."""

    ready: bool
    visibility: Visibility | None
    visibility_ok: bool
    runner_ok: bool
    capacity_ok: bool
    selected_runner_id: RunnerId | None
    reason: str | None
    primary_blocker: CheckCode | None
    checks: list[Check]
    estimated_start_at: Instant | None
    license: License
    runners: list[RunnerSummary]
    runner_counts: RunnerCounts = RunnerCounts()


class WaitingFor(Wire):
    """Why a queued scan has not started; the same checks as readiness."""

    primary_blocker: CheckCode | None
    reason: str | None
    checks: list[Check]
    estimated_start_at: Instant | None
