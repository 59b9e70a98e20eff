"""What is known of a target: one frozen record, read by the rules and shown to people and runners."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from apviso.protocol.states import VerificationMethod, Visibility
from apviso.protocol.wire import OrganizationId, TargetId
from apviso.server.localtime import Hours


@dataclass(frozen=True)
class KnownTarget:
    """`window_opens_at` and `window_closes_at`: the stretch of its scan windows that lasts or comes next.

    `window_turns_at`: when its windows next open or close, as far as that was told.
    Times of the proof: when it was first seen, looked for last, missed first in a row (None while it is there), and is due next.
    """

    id: TargetId
    organization_id: OrganizationId
    domain: str
    display_url: str
    scan_url: str
    visibility: Visibility
    scan_windows: tuple[Hours, ...]
    window_opens_at: datetime | None
    window_closes_at: datetime | None
    verified_at: datetime | None
    last_scan_at: datetime | None
    created_at: datetime
    window_turns_at: datetime | None = None
    verification_token: str | None = None
    verification_method: VerificationMethod | None = None
    verification_checked_at: datetime | None = None
    verification_error: str | None = None
    verification_failing_since: datetime | None = None
    verification_due_at: datetime | None = None
