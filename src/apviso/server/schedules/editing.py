"""Decides what a schedule is after it was made or changed: how it is told to be due, and when that is next. Pure."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

from apviso.protocol.schedules import IfMissed, NewSchedule, SchedulePatch
from apviso.protocol.wire import OrganizationId, RunnerId, ScheduleId, TargetId
from apviso.server.schedules.facts import ScheduleFacts
from apviso.server.schedules.timing import check, next_after

_OF_FREQUENCY = ("frequency", "hour", "minute", "day_of_week", "day_of_month")
# A null is no value for these.
_ALWAYS_SET = ("time_zone", "model_preset", "when_unavailable", "if_missed", "enabled")


def make(schedule_id: ScheduleId, organization_id: OrganizationId, wanted: NewSchedule, now: datetime) -> ScheduleFacts:
    """Raises InvalidFields."""
    schedule = ScheduleFacts(
        id=schedule_id,
        organization_id=organization_id,
        target_id=TargetId(wanted.target_id),
        runner_id=None if wanted.runner_id is None else RunnerId(wanted.runner_id),
        frequency=wanted.frequency,
        hour=wanted.hour,
        minute=wanted.minute,
        day_of_week=wanted.day_of_week,
        day_of_month=wanted.day_of_month,
        cron=wanted.cron,
        time_zone=wanted.time_zone,
        since=now,
        model_preset=wanted.model_preset,
        when_unavailable=wanted.when_unavailable,
        if_missed=wanted.if_missed,
        enabled=wanted.enabled,
        next_run_at=None,
        decided_at=now,
        created_at=now,
    )
    check(schedule.timing)
    return _decided(schedule, now)


def change(schedule: ScheduleFacts, patch: SchedulePatch, now: datetime) -> ScheduleFacts:
    """When it is due is decided anew where that has changed, and where it was switched on or off. Raises InvalidFields."""
    given: dict[str, Any] = {name: getattr(patch, name) for name in patch.model_fields_set}
    changes = {name: value for name, value in given.items() if value is not None or name not in _ALWAYS_SET}
    if changes.get("cron") is not None and changes.get("frequency") is None:
        changes = {**dict.fromkeys(_OF_FREQUENCY), **changes}
    elif changes.get("frequency") is not None:
        changes = {"cron": None, **changes}
    changed = replace(schedule, **changes)
    if changed.timing != schedule.timing:
        changed = replace(changed, since=now)
        check(changed.timing)
    elif changed.enabled is schedule.enabled:
        return _owing_nothing(changed) if changed.if_missed is IfMissed.SKIP else changed
    return _decided(_owing_nothing(changed), now)


def _owing_nothing(schedule: ScheduleFacts) -> ScheduleFacts:
    """A run that was to be caught up is not any more."""
    return replace(schedule, owed_due_at=None, owed_try_at=None)


def _decided(schedule: ScheduleFacts, now: datetime) -> ScheduleFacts:
    next_run_at = next_after(schedule.timing, now) if schedule.enabled else None
    return replace(schedule, next_run_at=next_run_at, decided_at=now)
