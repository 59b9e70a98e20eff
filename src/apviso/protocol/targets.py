"""Targets, as people see them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from apviso.protocol.findings import FindingCounts
from apviso.protocol.states import VerificationMethod, Visibility
from apviso.protocol.times import Window, Windows
from apviso.protocol.wire import Instant, TargetId, Text, Url, Wire


class NewTarget(Wire):
    domain: Annotated[Text, Field(min_length=1, max_length=300)]
    display_url: Url | None = None
    scan_url: Url | None = None
    visibility: Visibility = Visibility.PUBLIC
    # In which scans may start; without any, always.
    scan_windows: Windows = []


class TargetPatch(Wire):
    display_url: Url | None = None
    scan_url: Url | None = None
    visibility: Visibility | None = None
    scan_windows: Windows | None = None


class Target(Wire):
    """`verificationError` is what the latest look for the proof of control found wrong; while `verified` holds, it is looked for again.

    `openFindings` counts what is open or in progress.
    """

    id: TargetId
    domain: str
    display_url: str
    scan_url: str
    visibility: Visibility
    execution_mode: Literal["self_hosted_runner"] = "self_hosted_runner"
    auth_config_mode: Literal["runner_local"] = "runner_local"
    scan_windows: list[Window] = []
    verified: bool
    verified_at: Instant | None
    verification_method: VerificationMethod | None
    verification_checked_at: Instant | None
    verification_error: str | None
    last_scan_at: Instant | None
    open_findings: FindingCounts = FindingCounts()
    created_at: Instant


class TargetAnswer(Wire):
    target: Target


class TargetList(Wire):
    targets: list[Target]
    total: int
    page: int
    limit: int
    total_pages: int


class JobTarget(Wire):
    """What a runner is told of a target."""

    id: TargetId
    domain: str
    display_url: str
    scan_url: str
    visibility: Visibility


class JobTargetAnswer(Wire):
    target: JobTarget


class JobTargetList(Wire):
    targets: list[JobTarget]
