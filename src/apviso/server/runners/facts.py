"""What is known of a runner: one frozen record, read by the rules and shown to people."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from pydantic import JsonValue

from apviso.protocol.runners import Boot, Quarantine
from apviso.protocol.states import AdminState, RunnerStatus, Visibility
from apviso.protocol.wire import OrganizationId, RunnerId
from apviso.server.localtime import Hours


@dataclass(frozen=True)
class RunnerFacts:
    """`live_leases` is counted from the leases themselves, so there is no counter to drift."""

    id: RunnerId
    organization_id: OrganizationId
    name: str
    token_prefix: str
    ephemeral: bool
    labels: list[str]
    max_concurrency: int | None
    created_at: datetime
    revoked_at: datetime | None
    admin_state: AdminState
    admin_note: str | None
    admin_until: datetime | None
    drain_deadline: datetime | None
    retired_at: datetime | None
    rotate_requested_at: datetime | None
    version: str
    protocol_version: int
    os: str
    arch: str
    container_engine: str
    configured_concurrency: int
    provider_state: dict[str, JsonValue]
    capabilities: dict[str, JsonValue]
    health: dict[str, JsonValue]
    boot_id: str | None
    previous_boot_id: str | None
    beat_seq: int
    claim_poll_age_ms: int | None
    duplicate_seen_at: datetime | None
    last_heartbeat_at: datetime | None
    last_contact_at: datetime | None
    goodbye_at: datetime | None
    observed_status: RunnerStatus | None
    observed_reasons: list[str] | None
    live_leases: int
    maintenance_windows: tuple[Hours, ...] = ()
    boots: tuple[Boot, ...] = ()
    quarantine: Quarantine | None = None
    trusted_at: datetime | None = None
    maintenance_turns_at: datetime | None = None
    roll_call_until: datetime | None = None

    def changed(self, changes: Mapping[str, object]) -> RunnerFacts:
        """Another record with these fields changed. `dataclasses.replace` would set every field anew, and each heartbeat comes by here."""
        made = object.__new__(RunnerFacts)
        made.__dict__.update(self.__dict__, **changes)
        return made

    @property
    def slots(self) -> int:
        """How many scans it may run at once: what it offers, unless an administrator allows less; an ephemeral one lives for one, and
        one that was quarantined has yet to show that it works."""
        if self.ephemeral or self.quarantine is not None:
            return 1
        return min(self.configured_concurrency, self.max_concurrency or self.configured_concurrency)

    @property
    def free_slots(self) -> int:
        return max(0, self.slots - self.live_leases)

    def can_reach(self, visibility: Visibility) -> bool:
        """A runner that names no visibilities takes all of them."""
        named = self.capabilities.get("targetVisibilities")
        return not isinstance(named, list) or visibility in named
