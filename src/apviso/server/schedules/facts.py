"""What is known of a schedule: one frozen record, read by the rules and shown to people."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from apviso.protocol.schedules import Frequency, IfMissed, RunOutcome, WhenUnavailable
from apviso.protocol.states import ModelPreset
from apviso.protocol.wire import OrganizationId, RunnerId, ScanId, ScheduleId, TargetId
from apviso.server.schedules.timing import Timing


@dataclass(frozen=True)
class ScheduleFacts:
    """`next_run_at` was decided at `decided_at`; it is empty while the schedule is disabled, and where no date fits any more.

    The run that was due at `owed_due_at` could not be started then; it is tried again at `owed_try_at`."""

    id: ScheduleId
    organization_id: OrganizationId
    target_id: TargetId
    runner_id: RunnerId | None
    frequency: Frequency | None
    hour: int | None
    minute: int | None
    day_of_week: int | None
    day_of_month: int | None
    cron: str | None
    time_zone: str
    since: datetime
    model_preset: ModelPreset
    when_unavailable: WhenUnavailable
    if_missed: IfMissed
    enabled: bool
    next_run_at: datetime | None
    decided_at: datetime
    created_at: datetime
    owed_due_at: datetime | None = None
    owed_try_at: datetime | None = None

    @property
    def timing(self) -> Timing:
        return Timing(self.frequency, self.hour, self.minute, self.day_of_week, self.day_of_month, self.cron, self.time_zone, self.since)


@dataclass(frozen=True)
class RunFacts:
    """What became of one run."""

    due_at: datetime
    outcome: RunOutcome
    reason_code: str | None
    reason: str
    scan_id: ScanId | None = None
