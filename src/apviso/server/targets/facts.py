"""What is known of a target: one frozen record, read by the rules and shown to people and runners."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from apviso.protocol.states import Visibility
from apviso.protocol.wire import OrganizationId, TargetId


@dataclass(frozen=True)
class KnownTarget:
    id: TargetId
    organization_id: OrganizationId
    domain: str
    display_url: str
    scan_url: str
    visibility: Visibility
    verified_at: datetime | None
    last_scan_at: datetime | None
    created_at: datetime
