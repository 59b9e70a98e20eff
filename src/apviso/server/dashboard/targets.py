"""Targets: what may be scanned, how control of it is proved, whether a scan can start, and starting one."""

from __future__ import annotations

from typing import Any

from fastapi.responses import RedirectResponse, Response
from pydantic import ValidationError

from apviso.client.errors import ApvisoError, Conflict, Forbidden, InvalidRequest, LicenseRefused, NotFound
from apviso.protocol.limits import PRESETS
from apviso.protocol.scans import NewScan
from apviso.protocol.states import VISIBILITIES_NEEDING_PROOF, VerificationMethod, Visibility
from apviso.protocol.targets import NewTarget, Target, TargetPatch
from apviso.protocol.verification import VerificationCheck
from apviso.server.dashboard import windows
from apviso.server.dashboard.forms import Form, errors_of
from apviso.server.dashboard.routing import page_router
from apviso.server.dashboard.visitors import Posted, Visiting, Visitor, Working

router = page_router("/targets")
PER_PAGE = 50
LATEST_SCANS = 5
# Refusals that are shown on the page where the button was.
SAID_THERE = (InvalidRequest, Conflict, Forbidden, LicenseRefused)
VISIBILITIES = (
    (Visibility.PUBLIC, "Public: anyone on the Internet reaches it"),
    (Visibility.STAGING_PREVIEW, "Staging or preview: reached from outside, not meant for everybody"),
    (Visibility.PRIVATE_INTERNAL, "Private: inside a network that a runner is in"),
    (Visibility.LOCALHOST, "Localhost: on the runner's own host"),
    (Visibility.PARTNER_CLIENT, "Partner or client: somebody else's, with their consent"),
)


@router.get("")
async def list_targets(visitor: Visiting, page: int = 1) -> Response:
    listed = await visitor.api.targets.page(max(1, page), PER_PAGE)
    return visitor.page("targets/list.html.j2", live="target scan finding", listed=listed, needs_proof=VISIBILITIES_NEEDING_PROOF)


@router.get("/add")
async def show_add(visitor: Working) -> Response:
    return visitor.page("targets/edit.html.j2", **_form(None))


@router.post("/add")
async def add(posted: Posted) -> Response:
    form = posted.form
    try:
        wanted = NewTarget.model_validate({"domain": form.text("domain"), **_wanted(form)})
        target = await posted.visitor.api.targets.add(wanted)
    except (ValidationError, *SAID_THERE) as error:
        return _again(posted.visitor, None, form, error)
    needs_proof = target.visibility in VISIBILITIES_NEEDING_PROOF
    return posted.go(f"/targets/{target.id}{'/proof' if needs_proof else ''}", f"{target.domain} was added.")


@router.get("/{id}")
async def show_target(id: str, visitor: Visiting, runner: str = "") -> Response:
    return await _target_page(visitor, id, runner)


@router.get("/{id}/edit")
async def show_edit(id: str, visitor: Working) -> Response:
    return visitor.page("targets/edit.html.j2", **_form(await visitor.api.targets.get(id)))


@router.post("/{id}/edit")
async def edit(id: str, posted: Posted) -> Response:
    form = posted.form
    try:
        target = await posted.visitor.api.targets.edit(id, TargetPatch.model_validate(_wanted(form)))
    except (ValidationError, *SAID_THERE) as error:
        return _again(posted.visitor, await posted.visitor.api.targets.get(id), form, error)
    return posted.go(f"/targets/{target.id}", f"{target.domain} was changed.")


@router.get("/{id}/delete")
async def ask_delete(id: str, visitor: Working) -> Response:
    target = await visitor.api.targets.get(id)
    scans = (await visitor.api.scans.page(1, 1, target_id=target.id)).total
    schedules = (await visitor.api.schedules.page(1, 1, target_id=target.id)).total
    return visitor.page("targets/delete.html.j2", target=target, scans=scans, schedules=schedules)


@router.post("/{id}/delete")
async def delete(id: str, posted: Posted) -> Response:
    target = await posted.visitor.api.targets.get(id)
    await posted.visitor.api.targets.delete(id)
    return posted.go("/targets", f"{target.domain} was deleted.")


@router.get("/{id}/proof")
async def show_proof(id: str, visitor: Visiting) -> Response:
    return await _proof_page(visitor, id)


@router.post("/{id}/proof")
async def prove(id: str, posted: Posted) -> Response:
    method = next((one for one in VerificationMethod if one == posted.form.text("method")), VerificationMethod.DNS_TXT)
    try:
        target = await posted.visitor.api.targets.verify(id, method)
    except (Conflict, InvalidRequest) as error:
        return await _proof_page(posted.visitor, id, method, error)
    return posted.go(f"/targets/{target.id}", f"Control of {target.domain} is proved. It can be scanned.")


@router.post("/{id}/scan")
async def start(id: str, posted: Posted) -> Response:
    form = posted.form
    try:
        given = {name: form.maybe(name) for name in ("runnerId", "modelPreset", "whenUnavailable") if form.maybe(name)}
        created = await posted.visitor.api.scans.start(NewScan.model_validate({"targetId": id, **given}))
    except (ValidationError, *SAID_THERE) as error:
        return await _target_page(posted.visitor, id, form.text("runnerId"), form, error)
    return RedirectResponse(f"/scans/{created.scan.id}", 303)


async def _target_page(
    visitor: Visitor, id: str, runner: str, form: Form | None = None, error: ApvisoError | ValidationError | None = None
) -> Response:
    target = await visitor.api.targets.get(id)
    try:
        readiness = await visitor.api.runners.readiness(target_id=target.id, runner_id=runner or None)
    except NotFound:
        # The runner that was chosen is gone.
        runner, readiness = "", await visitor.api.runners.readiness(target_id=target.id)
    scans = await visitor.api.scans.page(1, LATEST_SCANS, target_id=target.id)
    return visitor.page(
        "targets/one.html.j2",
        status_code=_status_of(error),
        live="target scan runner readiness finding",
        target=target,
        readiness=readiness,
        runner=runner,
        scans=scans,
        presets=PRESETS,
        given=form.texts() if form else {},
        errors=errors_of(error) if error else {},
        needs_proof=target.visibility in VISIBILITIES_NEEDING_PROOF,
    )


async def _proof_page(visitor: Visitor, id: str, method: VerificationMethod | None = None, error: ApvisoError | None = None) -> Response:
    target = await visitor.api.targets.get(id)
    instructions = await visitor.api.targets.instructions(id)
    told = error.member("checks") if error else None
    checks = [VerificationCheck.model_validate(one) for one in told] if isinstance(told, list) else []
    return visitor.page(
        "targets/proof.html.j2",
        status_code=_status_of(error),
        live="target",
        target=target,
        instructions=instructions,
        method=method,
        checks=checks,
        error=error.detail if error else "",
    )


def _form(target: Target | None) -> dict[str, Any]:
    """What the form of a target needs; `windows` are rows of its last part."""
    rows = windows.rows_of(target.scan_windows if target else [])
    return {"target": target, "visibilities": VISIBILITIES, "given": {}, "errors": {}, "windows": rows}


def _again(visitor: Visitor, target: Target | None, form: Form, error: ApvisoError | ValidationError) -> Response:
    errors = errors_of(error)
    if "scanWindows" in errors:
        errors["scanWindows"] = windows.WRONG
    shown = _form(target) | {"given": form.texts(), "errors": errors, "windows": windows.rows_again(form)}
    return visitor.page("targets/edit.html.j2", status_code=_status_of(error), **shown)


def _wanted(form: Form) -> dict[str, Any]:
    """What was written; an address that was left empty is the server's to decide."""
    given = {name: form.maybe(name) for name in ("displayUrl", "scanUrl", "visibility") if form.maybe(name)}
    return given | {"scanWindows": windows.wanted(form)}


def _status_of(error: ApvisoError | ValidationError | None) -> int:
    if error is None:
        return 200
    return 422 if isinstance(error, ValidationError) else error.status or 503
