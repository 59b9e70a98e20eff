"""Settings: the organization and its license, users, API keys; and what everybody has: their own password and sessions."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from fastapi.responses import Response

from apviso.client.errors import InvalidRequest
from apviso.protocol.access import NewApiKey
from apviso.protocol.states import Scope
from apviso.protocol.verification import OrganizationPatch
from apviso.server.accounts import people, store
from apviso.server.accounts.errors import Declined, NotPermitted
from apviso.server.accounts.roles import Role
from apviso.server.accounts.signing_in import LINK_VALID, set_up_url
from apviso.server.dashboard.forms import Form, errors_of
from apviso.server.dashboard.routing import page_router
from apviso.server.dashboard.visitors import OwnPosted, Post, Posted, Visiting, Visitor, address_of
from apviso.server.resources import Plant, Reading, Writing

router = page_router("/settings")
ROLES = [
    (Role.VIEWER, "viewer: looks at everything"),
    (Role.OPERATOR, "operator: works with runners, targets, scans, findings"),
    (Role.ADMIN, "admin: also users, keys, webhooks, settings"),
    (Role.OWNER, "owner: also makes and unmakes owners"),
]
LIFETIMES = [("30", "30 days"), ("90", "90 days"), ("365", "a year"), ("", "no end")]


def _only_for_admins(visitor: Visitor) -> None:
    """What the API decides for its own routes; users are the dashboard's."""
    if not visitor.may_administer:
        raise NotPermitted("Only an admin or an owner may see this.")


@router.get("")
async def show_organization(visitor: Visiting) -> Response:
    quota = await visitor.api.organization.quota()
    organization = await visitor.api.organization.get() if visitor.may_administer else None
    return visitor.page("settings/organization.html.j2", quota=quota, organization=organization)


@router.post("/verification")
async def switch_verification(posted: Posted) -> Response:
    required = posted.form.text("required") == "yes"
    await posted.visitor.api.organization.edit(OrganizationPatch(requires_verification=required))
    return posted.go("/settings", f"Proof of control is {'required' if required else 'no longer required'}.")


@router.get("/me")
async def show_me(visitor: Visiting, work: Reading) -> Response:
    sessions = await store.list_sessions(work, visitor.user.organization_id, visitor.user.id)
    return visitor.page("settings/me.html.j2", sessions=sessions, errors={})


@router.post("/me/password")
async def change_password(posted: OwnPosted, plant: Plant) -> Response:
    visitor, form = posted.visitor, posted.form
    try:
        await people.change_password(plant, visitor.user, visitor.session, form.raw("old"), form.new_password(), visitor.browser)
    except Declined as declined:
        async with plant.database.reading() as work:
            sessions = await store.list_sessions(work, visitor.user.organization_id, visitor.user.id)
        errors = {declined.field: declined.message}
        return visitor.page("settings/me.html.j2", status_code=422, sessions=sessions, errors=errors)
    return posted.go("/settings/me", "Your password is changed. Your other sessions have ended.")


@router.post("/me/sessions/{id}/end")
async def end_session(id: str, posted: OwnPosted, work: Writing) -> Response:
    has_ended = await people.end_session(work, posted.visitor.user, id, posted.visitor.browser)
    return posted.go("/settings/me", "The session has ended." if has_ended else "The session had ended already.")


@router.get("/users")
async def list_users(visitor: Visiting, work: Reading) -> Response:
    _only_for_admins(visitor)
    users = await store.list_users(work, visitor.user.organization_id)
    return visitor.page("settings/users.html.j2", users=users, roles=ROLES, errors={}, given={})


@router.post("/users")
async def invite(posted: Posted, plant: Plant) -> Response:
    visitor, form = posted.visitor, posted.form
    try:
        async with plant.database.writing() as work:
            user, link = await people.invite(work, visitor.user, form.text("email"), form.text("name"), _role(form), visitor.browser)
    except NotPermitted:
        raise
    except Declined as declined:
        async with plant.database.reading() as work:
            users = await store.list_users(work, visitor.user.organization_id)
        errors = {declined.field: declined.message}
        return visitor.page("settings/users.html.j2", status_code=422, users=users, roles=ROLES, errors=errors, given=form.texts())
    return _show_link(posted, user, set_up_url(address_of(visitor.request, plant), link))


@router.get("/users/{id}")
async def show_user(id: str, visitor: Visiting, work: Reading) -> Response:
    user = await people.find(work, visitor.user, id)
    return visitor.page("settings/user.html.j2", user=user, roles=ROLES)


@router.post("/users/{id}/role")
async def change_role(id: str, posted: Posted, work: Writing) -> Response:
    role = _role(posted.form)
    user = await people.change_role(work, posted.visitor.user, id, role, posted.visitor.browser)
    return posted.go("/settings/users", f"{user.name} is {role} now.")


@router.post("/users/{id}/link")
async def give_link(id: str, posted: Posted, work: Writing) -> Response:
    user, link = await people.give_link(work, posted.visitor.user, id, posted.visitor.browser)
    return _show_link(posted, user, set_up_url(address_of(posted.visitor.request, posted.visitor.plant), link))


@router.get("/users/{id}/remove")
async def ask_remove(id: str, visitor: Visiting, work: Reading) -> Response:
    _only_for_admins(visitor)
    user = await people.find(work, visitor.user, id)
    sessions = await store.list_sessions(work, visitor.user.organization_id, user.id)
    return visitor.page("settings/remove-user.html.j2", user=user, sessions=len(sessions))


@router.post("/users/{id}/remove")
async def remove(id: str, posted: Posted, work: Writing) -> Response:
    user = await people.remove(work, posted.visitor.user, id, posted.visitor.browser)
    return posted.go("/settings/users", f"{user.name} can no longer sign in.")


def _role(form: Form) -> Role:
    try:
        return Role(form.text("role"))
    except ValueError as error:
        raise Declined("Choose a role.", "role") from error


def _show_link(posted: Post, user: store.User, link: str) -> Response:
    """Shown in this answer alone."""
    hours = int(LINK_VALID / timedelta(hours=1))
    return posted.visitor.page("settings/link.html.j2", user=user, link=link, hours=hours)


@router.get("/api-keys")
async def list_keys(visitor: Visiting) -> Response:
    return await _keys(visitor, {}, {})


async def _keys(
    visitor: Visitor, errors: dict[str, str], given: dict[str, str], ticked: Sequence[str] = (), status_code: int = 200
) -> Response:
    keys = [key async for key in visitor.api.api_keys.all()]
    return visitor.page(
        "settings/api-keys.html.j2",
        status_code=status_code,
        keys=keys,
        scopes=list(Scope),
        ticked=ticked,
        lifetimes=LIFETIMES,
        errors=errors,
        given=given,
    )


@router.post("/api-keys")
async def create_key(posted: Posted) -> Response:
    visitor, form = posted.visitor, posted.form
    scopes = [Scope(one) for one in form.all("scopes") if one in set(Scope)]
    days = form.number("days")
    ends = None if days is None else visitor.plant.database.clock() + timedelta(days=min(max(days, 1), 3650))
    if not form.text("name") or not scopes:
        errors = {} if form.text("name") else {"name": "Give the key a name that says who uses it."}
        errors |= {} if scopes else {"scopes": "Tick what the key may do."}
        return await _keys(visitor, errors, dict(form.texts()), scopes, 422)
    try:
        issued = await visitor.api.api_keys.issue(NewApiKey(name=form.text("name")[:120], scopes=scopes, expires_at=ends))
    except InvalidRequest as error:
        return await _keys(visitor, errors_of(error), dict(form.texts()), scopes, 422)
    return visitor.page("settings/api-key.html.j2", issued=issued)


@router.get("/api-keys/{id}/revoke")
async def ask_revoke_key(id: str, visitor: Visiting) -> Response:
    return visitor.page("settings/revoke-key.html.j2", key=await visitor.api.api_keys.get(id))


@router.post("/api-keys/{id}/revoke")
async def revoke_key(id: str, posted: Posted) -> Response:
    await posted.visitor.api.api_keys.revoke(id)
    return posted.go("/settings/api-keys", "The key is revoked.")
