"""Schedules, as people see them: when a target is scanned by itself, and what became of each run."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from apviso.protocol.scans import Id
from apviso.protocol.states import ModelPreset
from apviso.protocol.times import Day, TimeZone
from apviso.protocol.wire import Instant, RunnerId, ScanId, ScheduleId, TargetId, Text, Wire


class Frequency(StrEnum):
    DAILY = "daily"
    WEEKLY = "weekly"
    BIWEEKLY = "biweekly"
    MONTHLY = "monthly"


class IfMissed(StrEnum):
    """What becomes of runs that nobody started in time."""

    CATCH_UP = "catch_up"
    SKIP = "skip"


class RunOutcome(StrEnum):
    """`started`: a runner could take the scan at once. `queued`: it waits. `caught_up`: the same, later than it was due."""

    STARTED = "started"
    QUEUED = "queued"
    CAUGHT_UP = "caught_up"
    SKIPPED = "skipped"
    FAILED = "failed"


Hour = Annotated[int, Field(ge=0, le=23)]
Minute = Annotated[int, Field(ge=0, le=59)]
# Every month has these.
DayOfMonth = Annotated[int, Field(ge=1, le=28)]
Cron = Annotated[Text, Field(min_length=1, max_length=100)]
WhenUnavailable = Literal["reject", "queue"]


class NewSchedule(Wire):
    """Either `frequency` with `hour`, or `cron` (five fields). Both are read in `timeZone`."""

    target_id: Id
    runner_id: Id | None = None
    frequency: Frequency | None = None
    hour: Hour | None = None
    minute: Minute | None = None
    day_of_week: Day | None = None
    day_of_month: DayOfMonth | None = None
    cron: Cron | None = None
    time_zone: TimeZone = "UTC"
    model_preset: ModelPreset = ModelPreset.LOW
    when_unavailable: WhenUnavailable = "queue"
    if_missed: IfMissed = IfMissed.SKIP
    enabled: bool = True


class SchedulePatch(Wire):
    """What is left out stays. `cron` replaces a frequency, and a frequency replaces `cron`."""

    runner_id: Id | None = None
    frequency: Frequency | None = None
    hour: Hour | None = None
    minute: Minute | None = None
    day_of_week: Day | None = None
    day_of_month: DayOfMonth | None = None
    cron: Cron | None = None
    time_zone: TimeZone | None = None
    model_preset: ModelPreset | None = None
    when_unavailable: WhenUnavailable | None = None
    if_missed: IfMissed | None = None
    enabled: bool | None = None


class ScheduleRun(Wire):
    """What became of the run that was due at `due_at`. `reason_code` is null where nothing stood in its way."""

    due_at: Instant
    judged_at: Instant
    outcome: RunOutcome
    reason_code: str | None
    reason: str
    scan_id: ScanId | None


class Schedule(Wire):
    """`last_run`: what became of the latest run that was due; null before the first."""

    id: ScheduleId
    target_id: TargetId
    runner_id: RunnerId | None
    frequency: Frequency | None
    hour: int | None
    minute: int | None
    day_of_week: int | None
    day_of_month: int | None
    cron: str | None
    time_zone: str
    model_preset: ModelPreset
    when_unavailable: WhenUnavailable
    if_missed: IfMissed
    enabled: bool
    next_run_at: Instant | None
    created_at: Instant
    last_run: ScheduleRun | None = None


class DetailedSchedule(Schedule):
    """`next_runs`: the next five; none while the schedule is disabled."""

    next_runs: list[Instant]


class ScheduleAnswer(Wire):
    schedule: DetailedSchedule


class ScheduleList(Wire):
    schedules: list[Schedule]
    total: int
    page: int
    limit: int
    total_pages: int


class ScheduleRunList(Wire):
    runs: list[ScheduleRun]
    total: int
    page: int
    limit: int
    total_pages: int
