"""The door: sign in, sign out, and the links that let somebody in once."""

from __future__ import annotations

import base64
import hmac
import json
from typing import Any

from fastapi import Request
from fastapi.responses import RedirectResponse, Response

from apviso.server.accounts import signing_in, store
from apviso.server.accounts.errors import Declined
from apviso.server.accounts.provider import UNTRUE, Errand, Provider
from apviso.server.accounts.signing_in import Browser, Signed
from apviso.server.audit import store as audit
from apviso.server.dashboard import rendering
from apviso.server.dashboard.forms import Form
from apviso.server.dashboard.routing import page_router, safe_next
from apviso.server.dashboard.visitors import (
    AnonymousForm,
    MaybeVisiting,
    OwnPosted,
    address_of,
    browser_of,
    drop_errand,
    errand_cookie,
    keep_errand,
    let_in,
    let_out,
)
from apviso.server.errors import NoSuchRoute, RateLimited
from apviso.server.resources import Plant, Reading, Resources

router = page_router()
WRONG = "The e-mail address or the password is wrong."
NOBODY_YET = "Nobody can sign in yet. The server printed a link when it started; or make one on its host: apviso admin bootstrap"


@router.get("/sign-in")
async def show_sign_in(request: Request, visitor: MaybeVisiting, work: Reading, next: str = "/") -> Response:
    if visitor is not None:
        return RedirectResponse(safe_next(next), 303)
    error = "" if await store.is_anybody_there(work) else NOBODY_YET
    return _door(request, "sign-in.html.j2", next=safe_next(next), email="", error=error)


@router.post("/sign-in")
async def sign_in(request: Request, form: AnonymousForm, plant: Plant) -> Response:
    onward = safe_next(form.text("next"))
    try:
        signed = await signing_in.by_password(plant, form.text("email"), form.raw("password"), browser_of(request))
    except RateLimited as refusal:
        error = f"Too many tries. Wait {refusal.retry_after:.0f} s, and try again."
        return _door(request, "sign-in.html.j2", status_code=429, next=onward, email=form.text("email"), error=error)
    if signed is None:
        return _door(request, "sign-in.html.j2", status_code=403, next=onward, email=form.text("email"), error=WRONG)
    return _in(plant, signed, onward)


@router.get("/sign-in/oidc")
async def to_provider(request: Request, plant: Plant, next: str = "/") -> Response:
    """Off to the provider of identities; what must come back is kept in a cookie of this browser."""
    # Each may have to wait for the provider.
    plant.sign_in_throttle.take(f"from {browser_of(request).address}")
    errand = Errand.new()
    answer = RedirectResponse(await _provider(request).address(errand, _back(request, plant)), 303)
    kept = json.dumps([errand.state, errand.nonce, errand.verifier, safe_next(next)])
    keep_errand(answer, plant, base64.urlsafe_b64encode(kept.encode()).decode())
    return answer


@router.get("/sign-in/oidc/back")
async def from_provider(request: Request, plant: Plant, code: str = "", state: str = "", error: str = "") -> Response:
    errand, onward = _errand(request, plant)
    if error or not code or not hmac.compare_digest(state.encode(), errand.state.encode()):
        raise Declined(UNTRUE)
    plant.sign_in_throttle.take(f"from {browser_of(request).address}")
    identity = await _provider(request).identity(code, errand, _back(request, plant), plant.database.clock())
    answer = _in(plant, await signing_in.by_identity(plant, identity, browser_of(request)), onward)
    drop_errand(answer, plant)
    return answer


def _provider(request: Request) -> Provider:
    provider = request.app.state.resources.provider
    if not provider.is_there:
        raise NoSuchRoute
    assert isinstance(provider, Provider)
    return provider


def _back(request: Request, plant: Resources) -> str:
    """The address that the provider knows of."""
    return f"{address_of(request, plant)}/sign-in/oidc/back"


def _errand(request: Request, plant: Resources) -> tuple[Errand, str]:
    """Raises Declined where this browser was not sent to the provider by us."""
    try:
        state, nonce, verifier, onward = json.loads(base64.urlsafe_b64decode(request.cookies.get(errand_cookie(plant), "")))
        return Errand(str(state), str(nonce), str(verifier)), safe_next(str(onward))
    except ValueError as error:  # also for bytes that are no text
        raise Declined(UNTRUE) from error


@router.post("/sign-out")
async def sign_out(posted: OwnPosted, plant: Plant) -> Response:
    visitor = posted.visitor
    async with plant.database.writing() as work:
        await store.end_session(work, visitor.user.id, visitor.session.id)
        about = ("user", visitor.user.id)
        await audit.record(work, visitor.user.organization_id, visitor.user.actor, "user.signed_out", about, visitor.caller.request_id)
    answer = RedirectResponse("/sign-in", 303)
    let_out(answer, plant)
    return answer


@router.get("/set-up")
async def show_set_up(request: Request, work: Reading, code: str = "") -> Response:
    """The page behind a link: for the first owner, or for a user who chooses a password."""
    link = await signing_in.find_link(work, code)
    if link is None:
        unknown: dict[str, Any] = {"code": "", "user": None, "knows_organization": True, "given": {}}
        return _door(request, "set-up.html.j2", status_code=404, error=signing_in.NO_SUCH_LINK, **unknown)
    user = None if link.user_id is None else await signing_in.invited(work, link)
    knows = link.organization_id is not None
    return _door(request, "set-up.html.j2", code=code, error="", user=user, knows_organization=knows, given={})


@router.post("/set-up")
async def set_up(request: Request, form: AnonymousForm, plant: Plant) -> Response:
    code = form.text("code")
    async with plant.database.reading() as work:
        link = await signing_in.find_link(work, code)
        user = None if link is None or link.user_id is None else await signing_in.invited(work, link)
    try:
        signed = await _use_link(plant, form, browser_of(request), is_users=user is not None)
    except Declined as declined:
        return _door(
            request,
            "set-up.html.j2",
            status_code=404 if link is None else 422,
            code="" if link is None else code,
            error=declined.message,
            user=user,
            knows_organization=link is None or link.organization_id is not None,
            given={name: form.text(name) for name in ("organization", "email", "name")},
        )
    return _in(plant, signed, "/")


async def _use_link(plant: Resources, form: Form, browser: Browser, *, is_users: bool) -> Signed:
    """Raises Declined."""
    code, password = form.text("code"), form.new_password()
    if is_users:
        return await signing_in.choose_password(plant, code, password, browser)
    return await signing_in.become_owner(plant, code, form.text("organization"), form.text("email"), form.text("name"), password, browser)


def _door(request: Request, template: str, *, status_code: int = 200, **values: Any) -> Response:
    settings = request.app.state.resources.settings
    values["oidc"] = settings.oidc_name if settings.oidc_issuer else ""
    return rendering.page(template, request, status_code=status_code, **values)


def _in(plant: Resources, signed: Signed, onward: str) -> Response:
    answer = RedirectResponse(onward, 303)
    let_in(answer, plant, signed.token)
    return answer
