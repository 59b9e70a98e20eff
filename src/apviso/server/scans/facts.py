"""What is known of a scan and of one attempt at it: frozen records that the rules read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from enum import StrEnum
from typing import Any, Self

from apviso.protocol.states import ACTIVE_STATUSES, FINAL_STATUSES, EndReason, ModelPreset, ScanStatus, Visibility
from apviso.protocol.tokens import Token
from apviso.protocol.wire import JobId, OrganizationId, RunnerId, ScanId, TargetId


@dataclass(frozen=True)
class ScanFacts:
    id: ScanId
    job_id: JobId
    organization_id: OrganizationId
    target_id: TargetId
    target_visibility: Visibility
    requested_runner_id: RunnerId | None
    runner_id: RunnerId | None
    status: ScanStatus
    status_reason: str | None
    end_reason: EndReason | None
    attempt: int
    infrastructure_failures: int
    avoid_runner_id: RunnerId | None
    not_before: datetime | None
    model_preset: ModelPreset
    is_retest: bool
    parent_scan_id: ScanId | None
    finding_ids: list[str]
    scan_image_digest: str | None
    phase: str | None
    percent: float
    requests: int
    coverage: dict[str, Any] | None
    cancel_requested_at: datetime | None
    cancel_reason: EndReason | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None

    @property
    def is_final(self) -> bool:
        return self.status in FINAL_STATUSES

    @property
    def is_active(self) -> bool:
        return self.status in ACTIVE_STATUSES

    @classmethod
    def of(cls, row: Mapping[Any, Any]) -> Self:
        values: dict[str, Any] = {name: row[name] for name in _SCAN_FIELDS}
        for name, kind in _SCAN_ENUMS.items():
            values[name] = None if values[name] is None else kind(values[name])
        return cls(**values)


_SCAN_FIELDS = {field.name for field in fields(ScanFacts)}
_SCAN_ENUMS: dict[str, type[StrEnum]] = {
    "target_visibility": Visibility,
    "status": ScanStatus,
    "end_reason": EndReason,
    "model_preset": ModelPreset,
    "cancel_reason": EndReason,
}


@dataclass(frozen=True)
class AttemptFacts:
    """One claim. While `ended_at` is empty and its number is the scan's, it holds the lease."""

    scan_id: ScanId
    number: int
    runner_id: RunnerId
    nonce: str
    job_token_prefix: str
    assigned_at: datetime
    heard_at: datetime
    renewed_at: datetime
    lease_expires_at: datetime
    started_at: datetime | None
    last_seq: int
    ended_at: datetime | None
    end_reason: EndReason | None
    finish: dict[str, Any] | None
    log_gaps: list[Any] | None = None

    @classmethod
    def of(cls, row: Mapping[Any, Any]) -> Self:
        reason = row["end_reason"]
        return cls(**{name: row[name] for name in _ATTEMPT_FIELDS} | {"end_reason": None if reason is None else EndReason(reason)})


_ATTEMPT_FIELDS = {field.name for field in fields(AttemptFacts)}


@dataclass(frozen=True)
class NewAttempt:
    """A claim that is about to be made: `scan` as it is before."""

    scan: ScanFacts
    runner_id: RunnerId
    nonce: str
    job_token: Token
