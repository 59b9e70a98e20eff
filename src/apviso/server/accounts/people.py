"""What people with the right do to users: let in, change a role, give a new link, remove; and what everybody may do to themselves."""

from __future__ import annotations

from apviso.protocol.tokens import Token
from apviso.server.accounts import store
from apviso.server.accounts.errors import Declined, NotThere
from apviso.server.accounts.roles import Role, check_may_manage, check_owner_remains
from apviso.server.accounts.signing_in import Browser, check_password, clean_email, clean_name, issue_link, note
from apviso.server.accounts.store import Session, User
from apviso.server.audit import store as audit
from apviso.server.db.engine import Work
from apviso.server.organizations import store as organizations
from apviso.server.resources import Resources

MOST_USERS = 1_000


async def invite(work: Work, actor: User, email: str, name: str, role: Role, browser: Browser) -> tuple[User, Token]:
    """A new user, and the link with which they choose a password. Raises Declined."""
    check_may_manage(actor.role, role)
    email = clean_email(email)
    await organizations.lock(work, actor.organization_id)
    if await store.is_taken(work, email):
        raise Declined("Somebody signs in with this address already.", "email")
    if await store.count_users(work, actor.organization_id) >= MOST_USERS:
        raise Declined(f"An organization has at most {MOST_USERS} users; remove those who are gone.")
    user = await store.add(work, actor.organization_id, email, clean_name(name, email), role)
    await _record(work, actor, "user.created", user, browser, email=email, role=role)
    return user, await issue_link(work, actor.organization_id, user.id)


async def change_role(work: Work, actor: User, user_id: str, role: Role, browser: Browser) -> User:
    """From their next page on. Raises Declined."""
    user = await _managed(work, actor, user_id, role)
    check_owner_remains(await _roles(work, actor), user.id, role)
    if user.role is not role:
        await store.edit(work, actor.organization_id, user.id, role=role)
        await _record(work, actor, "user.role_changed", user, browser, role=role, before=user.role)
    return user


async def give_link(work: Work, actor: User, user_id: str, browser: Browser) -> tuple[User, Token]:
    """A link to choose a password with, for somebody who has forgotten theirs. Raises Declined."""
    user = await _managed(work, actor, user_id)
    await _record(work, actor, "user.link_issued", user, browser)
    return user, await issue_link(work, actor.organization_id, user.id)


async def remove(work: Work, actor: User, user_id: str, browser: Browser) -> User:
    """They are signed out everywhere at once. Raises Declined."""
    user = await _managed(work, actor, user_id)
    check_owner_remains(await _roles(work, actor), user.id)
    await store.remove(work, actor.organization_id, user.id)
    await _record(work, actor, "user.removed", user, browser, email=user.email)
    return user


async def find(work: Work, actor: User, user_id: str) -> User:
    """A user whom the actor may manage. Raises Declined."""
    return await _found(work, actor, user_id)


async def change_password(plant: Resources, actor: User, session: Session, old: str, new: str, browser: Browser) -> None:
    """Other sessions end. Whoever has no password yet needs no old one. Raises Declined, RateLimited and Overloaded."""
    plant.sign_in_throttle.take(f"as {actor.email}")
    async with plant.database.reading() as work:
        found = await store.find_by_email(work, actor.email)
    digest = None if found is None else found[1]
    if digest is not None and not await plant.passwords.matches(digest, old):
        raise Declined("This is not your password.", "old")
    check_password(new, actor.email)
    fresh = await plant.passwords.digest(new)
    async with plant.database.writing() as work:
        await store.edit(work, actor.organization_id, actor.id, password_argon2=fresh)
        await store.end_sessions(work, actor.id, besides=session.id)
        await note(work, actor, "user.password_changed", browser, way="settings")


async def end_session(work: Work, actor: User, session_id: str, browser: Browser) -> bool:
    """One of the actor's own."""
    if not await store.end_session(work, actor.id, session_id):
        return False
    await note(work, actor, "user.session_ended", browser, session=session_id)
    return True


async def _managed(work: Work, actor: User, user_id: str, to: Role | None = None) -> User:
    # Two who unmake each other as the last owners do so one after the other.
    await organizations.lock(work, actor.organization_id)
    return await _found(work, actor, user_id, to)


async def _found(work: Work, actor: User, user_id: str, to: Role | None = None) -> User:
    user = await store.find(work, actor.organization_id, user_id)
    if user is None:
        raise NotThere("There is no such user.")
    check_may_manage(actor.role, user.role, to)
    return user


async def _roles(work: Work, actor: User) -> dict[str, Role]:
    return {user.id: user.role for user in await store.list_users(work, actor.organization_id)}


async def _record(work: Work, actor: User, action: str, user: User, browser: Browser, **details: object) -> None:
    about = ("user", user.id)
    await audit.record(work, actor.organization_id, actor.actor, action, about, browser.request_id, **details)
