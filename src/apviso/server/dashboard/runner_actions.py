"""What can be done with a runner: each a question that says what will happen, and a form that does it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

from fastapi.responses import Response
from pydantic import ValidationError

from apviso.client.errors import InvalidRequest
from apviso.protocol.runners import Drain, Pause, Runner, RunnerPatch
from apviso.protocol.states import RunnerStatus, ScanStatus
from apviso.server.dashboard import windows
from apviso.server.dashboard.forms import Form, errors_of
from apviso.server.dashboard.rendering import plain
from apviso.server.dashboard.routing import page_router
from apviso.server.dashboard.visitors import Post, Posted, Visitor, Working

router = page_router("/runners")
ACTIONS = ("edit", "pause", "resume", "drain", "rotate", "revoke")


async def _ask(visitor: Visitor, id: str, action: str, *, errors: dict[str, str] | None = None, form: Form | None = None) -> Response:
    """The question, with the numbers that the answer depends on."""
    runner, fleet, queue = await asyncio.gather(
        visitor.api.runners.get(id),
        visitor.api.runners.page(limit=1),
        visitor.api.scans.page(limit=1, status=ScanStatus.PENDING_RUNNER),
    )
    there = (RunnerStatus.ONLINE, RunnerStatus.DEGRADED)
    return visitor.page(
        f"runners/{action}.html.j2",
        status_code=422 if errors else 200,
        runner=runner,
        others=sum(1 for one in fleet.readiness.runners if one.status in there and one.id != runner.id),
        queued=queue.total,
        errors=errors or {},
        given={} if form is None else form.texts(),
        windows=windows.rows_of(runner.maintenance_windows) if form is None else windows.rows_again(form),
    )


@router.get("/{id}/edit")
async def ask_edit(id: str, visitor: Working) -> Response:
    return await _ask(visitor, id, "edit")


@router.post("/{id}/edit")
async def edit(id: str, posted: Posted) -> Response:
    form = posted.form
    most = form.number("maxConcurrency")
    if form.text("maxConcurrency") and most is None:
        return await _ask(
            posted.visitor, id, "edit", errors={"maxConcurrency": "Write a whole number, or nothing for no limit."}, form=form
        )
    try:
        labels = [line.strip() for line in form.text("labels").splitlines() if line.strip()]
        told = {"name": form.text("name"), "labels": labels, "maxConcurrency": most, "maintenanceWindows": windows.wanted(form)}
        runner = await posted.visitor.api.runners.edit(id, RunnerPatch.model_validate(told))
    except (ValidationError, InvalidRequest) as error:
        return await _ask(posted.visitor, id, "edit", errors=_by_field(error), form=form)
    return _done(posted, runner, "has its new settings.")


@router.get("/{id}/pause")
async def ask_pause(id: str, visitor: Working) -> Response:
    return await _ask(visitor, id, "pause")


@router.post("/{id}/pause")
async def pause(id: str, posted: Posted) -> Response:
    form, now = posted.form, posted.visitor.plant.database.clock()
    try:
        until = _until(form, now)
    except ValueError:
        errors = {"until": "Write a time of UTC, as 2026-05-03T09:15."}
        return await _ask(posted.visitor, id, "pause", errors=errors, form=form)
    try:
        runner = await posted.visitor.api.runners.pause(id, Pause(note=form.maybe("note"), until=until))
    except (ValidationError, InvalidRequest) as error:
        return await _ask(posted.visitor, id, "pause", errors=_by_field(error), form=form)
    return _done(posted, runner, "takes no new scans." if until is None else f"takes no new scans until {until:%Y-%m-%d %H:%M} UTC.")


def _until(form: Form, now: datetime) -> datetime | None:
    """A time that was written wins over a span that was chosen. Raises ValueError."""
    if form.text("until"):
        return datetime.fromisoformat(form.text("until")).replace(tzinfo=UTC)
    hours = form.number("hours")
    return None if hours is None or not 0 < hours <= 10_000 else now + timedelta(hours=hours)


@router.get("/{id}/resume")
async def ask_resume(id: str, visitor: Working) -> Response:
    return await _ask(visitor, id, "resume")


@router.post("/{id}/resume")
async def resume(id: str, posted: Posted) -> Response:
    return _done(posted, await posted.visitor.api.runners.resume(id), "takes scans again.")


@router.get("/{id}/drain")
async def ask_drain(id: str, visitor: Working) -> Response:
    return await _ask(visitor, id, "drain")


@router.post("/{id}/drain")
async def drain(id: str, posted: Posted) -> Response:
    form = posted.form
    minutes = form.number("minutes")
    if form.text("minutes") and minutes is None:
        return await _ask(posted.visitor, id, "drain", errors={"minutes": "Write a whole number of minutes, or nothing."}, form=form)
    try:
        asked = Drain(deadline_seconds=None if minutes is None else minutes * 60, note=form.maybe("note"))
        runner = await posted.visitor.api.runners.drain(id, asked)
    except (ValidationError, InvalidRequest) as error:
        return await _ask(posted.visitor, id, "drain", errors=_by_field(error), form=form)
    return _done(posted, runner, "finishes what it runs and takes nothing new.")


@router.get("/{id}/rotate")
async def ask_rotate(id: str, visitor: Working) -> Response:
    return await _ask(visitor, id, "rotate")


@router.post("/{id}/rotate")
async def rotate(id: str, posted: Posted) -> Response:
    return _done(posted, await posted.visitor.api.runners.rotate_token(id), "fetches a new token with its next heartbeat.")


@router.get("/{id}/revoke")
async def ask_revoke(id: str, visitor: Working) -> Response:
    return await _ask(visitor, id, "revoke")


@router.post("/{id}/revoke")
async def revoke(id: str, posted: Posted) -> Response:
    runner = await posted.visitor.api.runners.get(id)
    if not _is_named(posted.form.text("name"), runner):
        errors = {"name": "This is not its name. Type it as it is written above."}
        return await _ask(posted.visitor, id, "revoke", errors=errors, form=posted.form)
    await posted.visitor.api.runners.revoke(id)
    return _done(posted, runner, "is revoked: its token is dead.")


def _is_named(typed: str, runner: Runner) -> bool:
    """As it is, or as a page shows it: nobody can type a mark that is not to be seen."""
    return " ".join(typed.split()) in {" ".join(name.split()) for name in (runner.name, plain(runner.name))}


def _by_field(error: ValidationError | InvalidRequest) -> dict[str, str]:
    """A field of the API's is called in the form as the API calls it; of minutes it knows only seconds."""
    outside = {"deadline_seconds": "minutes", "deadlineSeconds": "minutes"}
    told = {outside.get(name, name): message for name, message in errors_of(error).items()}
    return told | ({"maintenanceWindows": windows.WRONG} if "maintenanceWindows" in told else {})


def _done(posted: Post, runner: Runner, what: str) -> Response:
    return posted.go(f"/runners/{runner.id}", f"{runner.name} {what}")
