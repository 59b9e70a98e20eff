"""Facts as rules get them, ordinary in every respect that a test does not name."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from apviso.protocol.licenses import License
from apviso.protocol.states import AdminState, LicenseState, ModelPreset, RunnerStatus, ScanStatus, Visibility
from apviso.protocol.timers import Timers
from apviso.protocol.wire import JobId, OrganizationId, RunnerId, ScanId, TargetId
from apviso.server.runners.facts import RunnerFacts
from apviso.server.runners.presence import PresencePolicy
from apviso.server.scans.facts import AttemptFacts, ScanFacts

NOW = datetime(2026, 5, 3, 9, 15, 32, tzinfo=UTC)
TIMERS = Timers()
POLICY = PresencePolicy(TIMERS, amnesty_until=NOW - timedelta(hours=1))

_RUNNER = RunnerFacts(
    id=RunnerId("runner-1"),
    organization_id=OrganizationId("acme"),
    name="prod-runner-1",
    token_prefix="a1b2c3d4e5f6",
    ephemeral=False,
    labels=[],
    max_concurrency=None,
    created_at=NOW - timedelta(days=1),
    revoked_at=None,
    admin_state=AdminState.ENABLED,
    admin_note=None,
    admin_until=None,
    drain_deadline=None,
    retired_at=None,
    rotate_requested_at=None,
    version="0.1.0",
    protocol_version=1,
    os="linux",
    arch="x86_64",
    container_engine="docker",
    configured_concurrency=1,
    provider_state={},
    capabilities={},
    health={},
    boot_id="boot-1",
    previous_boot_id=None,
    beat_seq=1,
    claim_poll_age_ms=0,
    duplicate_seen_at=None,
    last_heartbeat_at=NOW,
    last_contact_at=NOW,
    goodbye_at=None,
    observed_status=RunnerStatus.ONLINE,
    observed_reasons=[],
    live_leases=0,
)
_SCAN = ScanFacts(
    id=ScanId("scan-1"),
    job_id=JobId("job-1"),
    organization_id=OrganizationId("acme"),
    target_id=TargetId("target-1"),
    target_visibility=Visibility.LOCALHOST,
    requested_runner_id=None,
    runner_id=RunnerId("runner-1"),
    status=ScanStatus.RUNNING,
    status_reason=None,
    end_reason=None,
    attempt=1,
    infrastructure_failures=0,
    avoid_runner_id=None,
    not_before=None,
    model_preset=ModelPreset.LOW,
    is_retest=False,
    parent_scan_id=None,
    finding_ids=[],
    scan_image_digest=None,
    phase=None,
    percent=0,
    requests=0,
    coverage=None,
    cancel_requested_at=None,
    cancel_reason=None,
    created_at=NOW,
    started_at=NOW,
    finished_at=None,
)
_ATTEMPT = AttemptFacts(
    scan_id=ScanId("scan-1"),
    number=1,
    runner_id=RunnerId("runner-1"),
    nonce="nonce-1",
    job_token_prefix="a1b2c3d4e5f6",
    assigned_at=NOW,
    heard_at=NOW,
    renewed_at=NOW,
    lease_expires_at=NOW + TIMERS.lease,
    started_at=NOW,
    last_seq=0,
    ended_at=None,
    end_reason=None,
    finish=None,
)
_LICENSE = License(
    plan="team",
    license_state=LicenseState.ACTIVE,
    can_register_runner=True,
    can_start_self_hosted_scan=True,
    can_scan_private_target=True,
    runner_limit=10,
    concurrent_job_limit=10,
    target_limit=25,
    allowed_target_visibilities=[Visibility.LOCALHOST, Visibility.PUBLIC],
)


def seconds(number: float) -> timedelta:
    return timedelta(seconds=number)


def runner(**differences: Any) -> RunnerFacts:
    return replace(_RUNNER, **differences)


def scan(**differences: Any) -> ScanFacts:
    return replace(_SCAN, **differences)


def attempt(**differences: Any) -> AttemptFacts:
    return replace(_ATTEMPT, **differences)


def license_(**differences: Any) -> License:
    return _LICENSE.model_copy(update=differences)
