"""Scans that start by themselves: when each is due, what became of its runs and why, and the form that makes one."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Annotated, Any
from zoneinfo import ZoneInfo

from fastapi import Query
from fastapi.responses import Response
from pydantic import ValidationError

from apviso.client.errors import Conflict, InvalidRequest, NotFound
from apviso.protocol.schedules import Frequency, NewSchedule, Schedule, SchedulePatch
from apviso.protocol.states import ModelPreset
from apviso.protocol.times import zone_names
from apviso.server.dashboard.forms import Form, errors_of
from apviso.server.dashboard.naming import list_targets, names_of
from apviso.server.dashboard.routing import page_router
from apviso.server.dashboard.visitors import Post, Posted, Visiting, Visitor, Working

router = page_router("/schedules")
PER_PAGE = 50
MOST_RUNNERS = 100
DAYS = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")
# Names of places, as people know them; all others of the IANA database are taken as well.
_CONTINENTS = ("Africa/", "America/", "Antarctica/", "Asia/", "Atlantic/", "Australia/", "Europe/", "Indian/", "Pacific/")
ZONES = ["UTC", *sorted(name for name in zone_names() if name.startswith(_CONTINENTS))]
Page = Annotated[int, Query(ge=1, le=1_000_000)]


def timing(schedule: Schedule) -> str:
    """When it is due, in words."""
    if schedule.cron is not None:
        return f"cron {schedule.cron}"
    at = f"at {schedule.hour or 0:02}:{schedule.minute or 0:02}"
    # Without a day the API takes Monday, and the first of the month.
    day = DAYS[1 if schedule.day_of_week is None else schedule.day_of_week]
    match schedule.frequency:
        case Frequency.WEEKLY:
            return f"every {day} {at}"
        case Frequency.BIWEEKLY:
            return f"every second {day} {at}"
        case Frequency.MONTHLY:
            return f"on day {schedule.day_of_month or 1} of each month {at}"
        case _:
            return f"every day {at}"


def there(at: datetime, zone: str) -> str:
    """What the clocks of its zone show then."""
    return at.astimezone(ZoneInfo(zone)).strftime("%a %Y-%m-%d %H:%M")


@router.get("")
async def list_schedules(visitor: Visiting, target: str = "", page: Page = 1) -> Response:
    answer, targets = await asyncio.gather(visitor.api.schedules.page(page, PER_PAGE, target_id=target or None), list_targets(visitor))
    shown = {"answer": answer, "targets": targets, "names": names_of(targets), "target": target}
    return visitor.page("schedules/list.html.j2", live="schedule", timing=timing, **shown)


@router.get("/add")
async def ask_add(visitor: Working, target: str = "") -> Response:
    given = {"targetId": target, "when": "weekly", "at": "02:00", "dayOfWeek": "0", "dayOfMonth": "1", "timeZone": "UTC", "enabled": "on"}
    return await _form(visitor, None, {"modelPreset": "low", "whenUnavailable": "queue", "ifMissed": "skip", **given})


@router.post("/add")
async def add(posted: Posted) -> Response:
    form = posted.form
    try:
        wanted = NewSchedule.model_validate({"targetId": form.text("targetId"), **_told(form)})
        schedule = await posted.visitor.api.schedules.add(wanted)
    except (ValidationError, InvalidRequest, Conflict, NotFound) as error:
        return await _form(posted.visitor, None, form.texts(), _errors(error), _status(error))
    return posted.go(f"/schedules/{schedule.id}", _said(schedule.next_run_at, "The schedule is there."))


@router.get("/{id}")
async def show_schedule(id: str, visitor: Visiting, page: Page = 1) -> Response:
    schedule = await visitor.api.schedules.get(id)
    target, runs = await asyncio.gather(visitor.api.targets.get(schedule.target_id), visitor.api.schedules.page_of_runs(id, page, PER_PAGE))
    shown = {"schedule": schedule, "target": target, "runs": runs}
    return visitor.page("schedules/one.html.j2", live="schedule", timing=timing, there=there, **shown)


@router.get("/{id}/edit")
async def ask_edit(id: str, visitor: Working) -> Response:
    schedule = await visitor.api.schedules.get(id)
    return await _form(visitor, schedule, _given(schedule))


@router.post("/{id}/edit")
async def edit(id: str, posted: Posted) -> Response:
    schedule = await posted.visitor.api.schedules.get(id)
    try:
        changed = await posted.visitor.api.schedules.edit(id, SchedulePatch.model_validate(_told(posted.form)))
    except (ValidationError, InvalidRequest, Conflict, NotFound) as error:
        return await _form(posted.visitor, schedule, posted.form.texts(), _errors(error), _status(error))
    return posted.go(f"/schedules/{id}", _said(changed.next_run_at, "The schedule is changed."))


@router.post("/{id}/enable")
async def enable(id: str, posted: Posted) -> Response:
    return await _switch(posted, id, is_on=True)


@router.post("/{id}/disable")
async def disable(id: str, posted: Posted) -> Response:
    return await _switch(posted, id, is_on=False)


async def _switch(posted: Post, id: str, *, is_on: bool) -> Response:
    changed = await posted.visitor.api.schedules.edit(id, SchedulePatch(enabled=is_on))
    said = (
        _said(changed.next_run_at, "The schedule is enabled.")
        if is_on
        else "The schedule is disabled: it starts no scan until it is enabled."
    )
    return posted.go(f"/schedules/{id}", said)


@router.get("/{id}/delete")
async def ask_delete(id: str, visitor: Working) -> Response:
    schedule = await visitor.api.schedules.get(id)
    target, runs = await asyncio.gather(visitor.api.targets.get(schedule.target_id), visitor.api.schedules.page_of_runs(id, limit=1))
    return visitor.page("schedules/delete.html.j2", schedule=schedule, target=target, runs=runs.total, timing=timing)


@router.post("/{id}/delete")
async def delete(id: str, posted: Posted) -> Response:
    await posted.visitor.api.schedules.delete(id)
    return posted.go("/schedules", "The schedule is deleted; scans that it has started stay.")


async def _form(
    visitor: Visitor, schedule: Schedule | None, given: dict[str, str] | Any, errors: dict[str, str] | None = None, status_code: int = 200
) -> Response:
    readiness, targets = await asyncio.gather(visitor.api.runners.readiness(), list_targets(visitor))
    return visitor.page(
        "schedules/form.html.j2",
        status_code=status_code,
        schedule=schedule,
        targets=targets,
        runners=readiness.runners[:MOST_RUNNERS],
        days=list(enumerate(DAYS)),
        zones=ZONES,
        presets=[(preset, preset) for preset in ModelPreset],
        given=given,
        errors=errors or {},
    )


def _given(schedule: Schedule) -> dict[str, str]:
    """A schedule as its form."""
    return {
        "targetId": schedule.target_id,
        "runnerId": schedule.runner_id or "",
        "when": "cron" if schedule.frequency is None else schedule.frequency,
        "at": f"{schedule.hour or 0:02}:{schedule.minute or 0:02}",
        "dayOfWeek": str(1 if schedule.day_of_week is None else schedule.day_of_week),
        "dayOfMonth": str(schedule.day_of_month or 1),
        "cron": schedule.cron or "",
        "timeZone": schedule.time_zone,
        "modelPreset": schedule.model_preset,
        "whenUnavailable": schedule.when_unavailable,
        "ifMissed": schedule.if_missed,
        **({"enabled": "on"} if schedule.enabled else {}),
    }


def _told(form: Form) -> dict[str, Any]:
    """A form as the API takes it: of the fields about time, those that go with what was chosen."""
    when, (hour, _, minute) = form.text("when"), form.text("at").partition(":")
    timed: dict[str, Any] = {"frequency": when, "hour": hour or None, "minute": minute or None, "dayOfWeek": None, "dayOfMonth": None}
    if when == "cron":
        timed = {"cron": form.maybe("cron")}
    elif when in (Frequency.WEEKLY, Frequency.BIWEEKLY):
        timed["dayOfWeek"] = form.maybe("dayOfWeek")
    elif when == Frequency.MONTHLY:
        timed["dayOfMonth"] = form.maybe("dayOfMonth")
    told = {name: form.text(name) for name in ("timeZone", "modelPreset", "whenUnavailable", "ifMissed")}
    return {**timed, **told, "runnerId": form.maybe("runnerId"), "enabled": form.has("enabled")}


def _errors(error: ValidationError | InvalidRequest | Conflict | NotFound) -> dict[str, str]:
    """Hour and minute are one field here, and so are the kinds of frequency."""
    fields = {"hour": "at", "minute": "at", "frequency": "when"}
    return {fields.get(name, name): message for name, message in errors_of(error).items()}


def _status(error: ValidationError | InvalidRequest | Conflict | NotFound) -> int:
    return 422 if isinstance(error, ValidationError) else error.status or 422


def _said(next_run_at: datetime | None, done: str) -> str:
    return done if next_run_at is None else f"{done} Next run: {next_run_at:%Y-%m-%d %H:%M} UTC."
