"""`apviso schedules`: scans that start by themselves, and what became of each."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Annotated

import typer

from apviso.cli.session import ApiKeyFile, ApiUrl, connected
from apviso.cli.settings import Json
from apviso.cli.showing import print_done, print_facts, print_json, print_json_list, print_table
from apviso.cli.targets import Which as WhichTarget
from apviso.cli.targets import id_of
from apviso.protocol.schedules import Frequency, IfMissed
from apviso.protocol.states import ModelPreset

if TYPE_CHECKING:
    from apviso.protocol.schedules import DetailedSchedule, Schedule

group = typer.Typer(help="Scans that start by themselves.", no_args_is_help=True)
WhichSchedule = Annotated[str, typer.Argument(metavar="SCHEDULE", help="Id of a schedule.")]
DAYS = ("sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday")


def add_to(app: typer.Typer) -> None:
    app.add_typer(group, name="schedules")


@group.command()
def add(
    target: WhichTarget,
    frequency: Annotated[Frequency | None, typer.Option("--frequency", help="How often; give --hour, too.")] = None,
    hour: Annotated[int | None, typer.Option("--hour", min=0, max=23, help="Hour of the day.")] = None,
    minute: Annotated[int | None, typer.Option("--minute", min=0, max=59, help="Minute of the hour.")] = None,
    day_of_week: Annotated[int | None, typer.Option("--day-of-week", min=0, max=6, help="0 is Sunday.")] = None,
    day_of_month: Annotated[int | None, typer.Option("--day-of-month", min=1, max=28)] = None,
    cron: Annotated[str | None, typer.Option("--cron", help="Five fields, in place of a frequency.")] = None,
    time_zone: Annotated[str, typer.Option("--time-zone", help="In which the times are read.")] = "UTC",
    preset: Annotated[ModelPreset, typer.Option("--preset", help="How thoroughly to look.")] = ModelPreset.LOW,
    if_missed: Annotated[IfMissed, typer.Option("--if-missed", help="What becomes of runs that nobody started.")] = IfMissed.SKIP,
    json: Json = False,
    api_url: ApiUrl = None,
    api_key_file: ApiKeyFile = None,
) -> None:
    """Scan a target by itself from now on."""
    from apviso.protocol.schedules import NewSchedule

    with connected(api_url, api_key_file) as client:
        wanted = NewSchedule(
            target_id=id_of(client, target),
            frequency=frequency,
            hour=hour,
            minute=minute,
            day_of_week=day_of_week,
            day_of_month=day_of_month,
            cron=cron,
            time_zone=time_zone,
            model_preset=preset,
            if_missed=if_missed,
        )
        _show(client.schedules.add(wanted), json=json)


@group.command("list")
def list_(
    target: Annotated[str | None, typer.Option("--target", help="Only of this target, by id or domain.")] = None,
    json: Json = False,
    api_url: ApiUrl = None,
    api_key_file: ApiKeyFile = None,
) -> None:
    """List schedules."""
    with connected(api_url, api_key_file) as client:
        schedules = list(client.schedules.all(target_id=None if target is None else id_of(client, target)))
    if json:
        print_json_list("schedules", schedules)
        return
    rows = [(_when(one), one.time_zone, "yes" if one.enabled else "no", one.next_run_at, one.target_id, one.id) for one in schedules]
    print_table(("when", "time zone", "enabled", "next run", "target", "id"), rows, "There is no schedule: apviso schedules add")


@group.command()
def show(schedule: WhichSchedule, json: Json = False, api_url: ApiUrl = None, api_key_file: ApiKeyFile = None) -> None:
    """Show one schedule with its next runs."""
    with connected(api_url, api_key_file) as client:
        _show(client.schedules.get(schedule), json=json)


@group.command()
def enable(schedule: WhichSchedule, json: Json = False, api_url: ApiUrl = None, api_key_file: ApiKeyFile = None) -> None:
    """Let a schedule start scans again."""
    _switch(schedule, api_url, api_key_file, enabled=True, json=json)


@group.command()
def disable(schedule: WhichSchedule, json: Json = False, api_url: ApiUrl = None, api_key_file: ApiKeyFile = None) -> None:
    """Let a schedule start no scans for now."""
    _switch(schedule, api_url, api_key_file, enabled=False, json=json)


def _switch(schedule: str, api_url: str | None, api_key_file: str | None, *, enabled: bool, json: bool) -> None:
    from apviso.protocol.schedules import SchedulePatch

    with connected(api_url, api_key_file) as client:
        _show(client.schedules.edit(schedule, SchedulePatch(enabled=enabled)), json=json)


@group.command()
def delete(schedule: WhichSchedule, json: Json = False, api_url: ApiUrl = None, api_key_file: ApiKeyFile = None) -> None:
    """Delete a schedule; scans that it has started stay."""
    with connected(api_url, api_key_file) as client:
        client.schedules.delete(schedule)
    print_done(schedule, json=json)


@group.command()
def runs(
    schedule: WhichSchedule,
    limit: Annotated[int, typer.Option("--limit", min=1, max=1000, help="So many at most, newest first.")] = 50,
    json: Json = False,
    api_url: ApiUrl = None,
    api_key_file: ApiKeyFile = None,
) -> None:
    """Show what became of each run that was due."""
    with connected(api_url, api_key_file) as client:
        found = list(islice(client.schedules.runs(schedule), limit))
    if json:
        print_json_list("runs", found)
        return
    rows = [(one.due_at, one.outcome, one.reason, one.scan_id) for one in found]
    print_table(("due", "outcome", "why", "scan"), rows, "No run has been due yet.")


def _show(schedule: DetailedSchedule, *, json: bool) -> None:
    if json:
        from apviso.protocol.schedules import ScheduleAnswer

        print_json(ScheduleAnswer(schedule=schedule))
        return
    print_facts(
        (
            ("Schedule", schedule.id),
            ("Target", schedule.target_id),
            ("When", f"{_when(schedule)} ({schedule.time_zone})"),
            ("Enabled", "yes" if schedule.enabled else "no"),
            ("Next runs", ", ".join(f"{run:%Y-%m-%d %H:%MZ}" for run in schedule.next_runs) or None),
        )
    )


def _when(schedule: Schedule) -> str:
    if schedule.cron is not None:
        return schedule.cron
    day = DAYS[schedule.day_of_week] if schedule.day_of_week is not None else None
    of_month = f"day {schedule.day_of_month}" if schedule.day_of_month is not None else None
    words = (schedule.frequency, day, of_month, f"{schedule.hour or 0:02}:{schedule.minute or 0:02}")
    return " ".join(word for word in words if word)
