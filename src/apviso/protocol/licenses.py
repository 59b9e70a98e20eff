"""What a license permits, as readiness and quota show it."""

from __future__ import annotations

from apviso.protocol.states import LicenseState, Visibility
from apviso.protocol.wire import Instant, Wire


class License(Wire):
    plan: str
    license_state: LicenseState
    can_register_runner: bool
    can_start_self_hosted_scan: bool
    can_scan_private_target: bool
    runner_limit: int
    concurrent_job_limit: int
    target_limit: int
    allowed_target_visibilities: list[Visibility]
    expires_at: Instant | None = None


class Usage(Wire):
    """What of the limits is taken. `runners` counts those not revoked, `concurrent_jobs` the live leases."""

    runners: int
    concurrent_jobs: int
    targets: int


class Quota(Wire):
    tier: str
    source: str = "self_hosted_license"
    license: License
    usage: Usage
