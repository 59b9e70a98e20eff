"""Add a runner: a token that is shown once, the commands that use it, and the wait for the runner that comes with it."""

from __future__ import annotations

import re
from typing import Any

from fastapi.responses import Response
from pydantic import JsonValue, ValidationError

from apviso import __version__
from apviso.client.errors import InvalidRequest
from apviso.protocol.runners import IssuedEnrollmentToken, NewEnrollmentToken, TokenOutcome, TokenStatus
from apviso.protocol.states import RunnerStatus
from apviso.server.dashboard.forms import errors_of
from apviso.server.dashboard.routing import page_router
from apviso.server.dashboard.visitors import Posted, Visiting, Visitor, Working

router = page_router("/runners")
# Seconds, and what is said of them; the API takes 5 minutes to a day.
_PLAIN = re.compile(r"https?://[A-Za-z0-9.:\[\]-]+")
LIFETIMES = (("1800", "30 minutes"), ("300", "5 minutes"), ("7200", "2 hours"), ("86400", "1 day"))


@router.get("/add")
async def show_add(visitor: Visiting) -> Response:
    return await _form(visitor)


@router.post("/add")
async def add(posted: Posted) -> Response:
    """The one page that has the token. Its address from here on is that of what becomes of it, so that nothing asks for it twice."""
    form = posted.form
    try:
        wanted = NewEnrollmentToken(
            name=form.maybe("name"),
            labels=[line.strip() for line in form.text("labels").splitlines() if line.strip()],
            ephemeral=form.has("ephemeral"),
            expires_in_seconds=form.number("expiresInSeconds") or 1800,
        )
        issued = await posted.visitor.api.enrollment_tokens.issue(wanted)
    except (ValidationError, InvalidRequest) as error:
        return await _form(posted.visitor, errors=errors_of(error), given=dict(form.texts()))
    return await _outcome(posted.visitor, issued.token_prefix, issued)


@router.get("/tokens/{prefix}")
async def show_token(prefix: str, visitor: Visiting) -> Response:
    return await _outcome(visitor, prefix, None)


@router.get("/tokens/{prefix}/revoke")
async def ask_revoke_token(prefix: str, visitor: Working) -> Response:
    return visitor.page("runners/revoke-token.html.j2", outcome=await visitor.api.enrollment_tokens.outcome(prefix))


@router.post("/tokens/{prefix}/revoke")
async def revoke_token(prefix: str, posted: Posted) -> Response:
    await posted.visitor.api.enrollment_tokens.revoke(prefix)
    return posted.go("/runners/add", f"The token {prefix} is revoked: nobody can enroll with it.")


async def _form(visitor: Visitor, *, errors: dict[str, str] | None = None, given: dict[str, str] | None = None) -> Response:
    tokens = await visitor.api.enrollment_tokens.page(limit=100)
    return visitor.page(
        "runners/add.html.j2",
        status_code=422 if errors else 200,
        live="runner",
        outstanding=tokens.enrollment_tokens,
        lifetimes=LIFETIMES,
        errors=errors or {},
        given=given or {},
        **_place(visitor, "prod-runner-1"),
    )


async def _outcome(visitor: Visitor, prefix: str, issued: IssuedEnrollmentToken | None) -> Response:
    outcome = await visitor.api.enrollment_tokens.outcome(prefix)
    return visitor.page(
        "runners/token.html.j2",
        live="runner readiness",
        outcome=outcome,
        issued=issued,
        **await _arrived(visitor, outcome),
        **_place(visitor, outcome.name or "prod-runner-1"),
    )


async def _arrived(visitor: Visitor, outcome: TokenOutcome) -> dict[str, Any]:
    """The runner that came with the token, since when it is as it is, and whether a scan could start on it."""
    nobody: dict[str, Any] = {"runner": None, "since": None, "readiness": None, "engine": ""}
    if outcome.status is not TokenStatus.USED or outcome.runner_id is None:
        return nobody
    runner = await visitor.api.runners.get(outcome.runner_id)
    if runner.status not in (RunnerStatus.ONLINE, RunnerStatus.DEGRADED):
        return {**nobody, "runner": runner}
    history = await visitor.api.runners.history(runner.id)
    here = [one.since for one in history.intervals if one.until is None and one.status is runner.status]
    readiness = await visitor.api.runners.readiness(runner_id=runner.id)
    since = here[-1] if here else runner.created_at
    return {"runner": runner, "since": since, "readiness": readiness, "engine": _engine(runner.container_engine, runner.capabilities)}


def _engine(name: str, capabilities: dict[str, JsonValue]) -> str:
    """`docker 28.0`, where it says which."""
    engine = capabilities.get("engine")
    version = engine.get("version") if isinstance(engine, dict) else None
    return f"{name or 'no engine'} {version}" if isinstance(version, str) else name or "no engine"


def _place(visitor: Visitor, name: str) -> dict[str, Any]:
    """What the commands name. The address is the one that people are told of, or else the one by which this page was asked for."""
    asked = str(visitor.request.base_url).rstrip("/")
    # It is written into commands: what is no plain address stays out of them.
    url = visitor.plant.settings.public_url or (asked if _PLAIN.fullmatch(asked) else "https://apviso.example")
    is_local = visitor.request.base_url.hostname in ("localhost", "127.0.0.1", "::1") and not visitor.plant.settings.public_url
    return {"url": url, "is_local": is_local, "version": __version__, "file_name": _file_name(name)}


def _file_name(name: str) -> str:
    """A name for things of the host, in letters that need no quotes there."""
    kept = "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in name.lower()).strip("-")
    return kept[:40].strip("-") or "runner"
