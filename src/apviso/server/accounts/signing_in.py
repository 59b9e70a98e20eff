"""How somebody gets in: by password, or by a link that works once. Each way ends in a session, and in the audit trail."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta

from apviso.protocol.tokens import Namespace, Token, new_token, parse_token
from apviso.protocol.wire import OrganizationId
from apviso.server.accounts import store
from apviso.server.accounts.errors import Declined
from apviso.server.accounts.provider import Identity
from apviso.server.accounts.roles import Role
from apviso.server.accounts.store import KnownSession, Link, User
from apviso.server.audit import store as audit
from apviso.server.db.engine import Work
from apviso.server.organizations import store as organizations
from apviso.server.resources import Resources

LINK_VALID = timedelta(hours=24)
LONGEST_EMAIL, LONGEST_NAME = 254, 120
SHORTEST_PASSWORD, LONGEST_PASSWORD = 12, 200
NO_SUCH_LINK = "This link has been used, or has run out. Ask for a new one."


@dataclass(frozen=True)
class Browser:
    """Where a request came from, as far as it says so."""

    address: str
    user_agent: str
    request_id: str


@dataclass(frozen=True)
class Signed:
    """Somebody who has just got in; the token is for their browser alone."""

    user: User
    token: Token = field(repr=False)


def clean_email(text: str) -> str:
    """Raises Declined for what is no address. Whether it is somebody's, nobody asks."""
    email = text.strip().lower()
    local, at, host = email.rpartition("@")
    if not (at and local and host) or len(email) > LONGEST_EMAIL or any(one.isspace() or not one.isprintable() for one in email):
        raise Declined("Write an e-mail address, such as ada@example.com.", "email")
    return email


def clean_name(text: str, email: str) -> str:
    name = " ".join("".join(one if one.isprintable() else " " for one in text).split())
    return name[:LONGEST_NAME] or email.partition("@")[0][:LONGEST_NAME]


def check_password(password: str, email: str) -> None:
    """Raises Declined for one that is easy to guess."""
    if not SHORTEST_PASSWORD <= len(password) <= LONGEST_PASSWORD:
        raise Declined(
            f"A password has {SHORTEST_PASSWORD} to {LONGEST_PASSWORD} characters; a few unrelated words are easy to remember.", "password"
        )
    if password.casefold() == email.casefold() or len(set(password)) < 4:
        raise Declined("This password is easy to guess; take a few unrelated words.", "password")


async def by_password(plant: Resources, email: str, password: str, browser: Browser) -> Signed | None:
    """Somebody signs in, or nobody. Raises RateLimited after too many tries for one address, and Overloaded."""
    address = email.strip().lower()[:LONGEST_EMAIL]
    plant.sign_in_throttle.take(f"from {browser.address}")
    plant.sign_in_throttle.take(f"as {address}")
    async with plant.database.reading() as work:
        found = await store.find_by_email(work, address)
    user, digest = found or (None, None)
    is_right = await plant.passwords.matches(digest, password[: 2 * LONGEST_PASSWORD])
    if user is None:
        return None
    async with plant.database.writing() as work:
        known = await store.find(work, user.organization_id, user.id)
        if known is None:
            return None
        if not is_right:
            await note(work, known, "user.sign_in_failed", browser)
            return None
        return await open_session(work, plant, known, browser, "password")


async def note(work: Work, user: User, action: str, browser: Browser, **details: object) -> None:
    """Write down what somebody did to their own account, and where from."""
    about = ("user", user.id)
    await audit.record(work, user.organization_id, user.actor, action, about, browser.request_id, address=browser.address, **details)


NOBODY_HERE = "The provider knows you, but nobody has let you in here. Ask an admin to add you as a user with the same e-mail address."
UNVERIFIED = "The provider has not verified your e-mail address, so it tells nobody who you are here."


async def by_identity(plant: Resources, identity: Identity, browser: Browser) -> Signed:
    """Somebody whom the provider vouches for: known from before, by a verified address, or new where that is wanted. Raises Declined."""
    async with plant.database.writing() as work:
        user = await store.find_by_subject(work, identity.subject)
        if user is None:
            user = await _meet(work, plant, identity, browser)
            if not await store.keep_subject(work, user, identity.subject):
                raise Declined("The user with this address has another account at the provider. Ask an admin.")
        return await open_session(work, plant, user, browser, "oidc")


async def _meet(work: Work, plant: Resources, identity: Identity, browser: Browser) -> User:
    if not identity.email:
        raise Declined(UNVERIFIED)
    email = clean_email(identity.email)
    found = await store.find_by_email(work, email)
    if found is not None:
        return found[0]
    settings = plant.settings
    known = await organizations.list_organizations(work)
    mine = [one for one in known if settings.oidc_organization in ("", one.name)]
    if not settings.oidc_new_users or len(mine) != 1:
        raise Declined(NOBODY_HERE)
    user = await store.add(work, mine[0].id, email, clean_name(identity.name, email), Role(settings.oidc_new_users))
    about = ("user", user.id)
    await audit.record(work, user.organization_id, "oidc", "user.created", about, browser.request_id, email=email, role=user.role)
    return user


async def open_session(work: Work, plant: Resources, user: User, browser: Browser, way: str) -> Signed:
    """A session for somebody who has shown who they are."""
    token = new_token(Namespace.SESSION)
    session_id = await store.add_session(work, user, token, browser.address, browser.user_agent, work.now + plant.settings.session_lifetime)
    await store.edit(work, user.organization_id, user.id, last_sign_in_at=work.now)
    await note(work, user, "user.signed_in", browser, way=way, session=session_id)
    return Signed(user, token)


async def find_session(work: Work, plant: Resources, text: str) -> KnownSession | None:
    """Who is behind a browser's token; nobody once the session has run out, or was not used for long."""
    token = parse_token(text)
    if token is None or token.namespace is not Namespace.SESSION:
        return None
    known = await store.find_session(work, token.prefix)
    if known is None or not token.matches(known.digest):
        return None
    is_over = known.session.expires_at <= work.now or known.session.last_seen_at + plant.settings.session_idle <= work.now
    return None if is_over else known


async def find_link(work: Work, text: str) -> Link | None:
    """The link that somebody came with, unless it has run out."""
    token = parse_token(text)
    if token is None or token.namespace is not Namespace.LINK:
        return None
    link = await store.find_link(work, token.prefix)
    if link is None or not token.matches(link.digest) or link.expires_at <= work.now:
        return None
    return link


async def issue_link(work: Work, organization_id: OrganizationId | None, user_id: str | None = None) -> Token:
    """A link for a user to choose a password, or for a first owner. Shown once; a user's older ones end."""
    if user_id is not None:
        await store.drop_links(work, user_id)
    token = new_token(Namespace.LINK)
    await store.add_link(work, token, organization_id, user_id, work.now + LINK_VALID)
    return token


async def become_owner(plant: Resources, code: str, organization: str, email: str, name: str, password: str, browser: Browser) -> Signed:
    """The first start: an owner, and their organization where the link knows of none. Raises Declined."""
    # Before anything costly: whoever has no link may not keep the server busy with passwords.
    async with plant.database.reading() as work:
        if await find_link(work, code) is None:
            raise Declined(NO_SUCH_LINK)
    email = clean_email(email)
    check_password(password, email)
    digest = await plant.passwords.digest(password)
    async with plant.database.writing() as work:
        link = await find_link(work, code)
        if link is None or link.user_id is not None or not await store.use_link(work, link.id):
            raise Declined(NO_SUCH_LINK)
        if await store.is_taken(work, email):
            raise Declined("Somebody signs in with this address already.", "email")
        organization_id = link.organization_id or await _found(work, organization)
        user = await store.add(work, organization_id, email, clean_name(name, email), Role.OWNER)
        await store.edit(work, organization_id, user.id, password_argon2=digest)
        about = ("user", user.id)
        await audit.record(work, organization_id, audit.OPERATOR, "user.created", about, browser.request_id, email=email, role=Role.OWNER)
        return await open_session(work, plant, user, browser, "link")


async def choose_password(plant: Resources, code: str, password: str, browser: Browser) -> Signed:
    """A user who was invited, or whose password was reset. Every other session of theirs ends. Raises Declined."""
    async with plant.database.reading() as work:
        link = await find_link(work, code)
        user = await _of_link(work, link)
    check_password(password, user.email)
    digest = await plant.passwords.digest(password)
    async with plant.database.writing() as work:
        link = await find_link(work, code)
        if link is None or not await store.use_link(work, link.id):
            raise Declined(NO_SUCH_LINK)
        await store.edit(work, user.organization_id, user.id, password_argon2=digest)
        await store.end_sessions(work, user.id)
        await note(work, user, "user.password_changed", browser, way="link")
        return await open_session(work, plant, user, browser, "link")


async def invited(work: Work, link: Link) -> User:
    """Whom a link is for. Raises Declined."""
    return await _of_link(work, link)


async def _of_link(work: Work, link: Link | None) -> User:
    if link is None or link.user_id is None or link.organization_id is None:
        raise Declined(NO_SUCH_LINK)
    user = await store.find(work, link.organization_id, link.user_id)
    if user is None:
        raise Declined(NO_SUCH_LINK)
    return user


async def _found(work: Work, name: str) -> OrganizationId:
    clean = clean_name(name, "Default")
    if not await organizations.create(work, clean):
        raise Declined("There is an organization of this name already; take another name.", "organization")
    organization = await organizations.find_by_name(work, clean)
    assert organization is not None
    await audit.record(work, organization.id, audit.OPERATOR, "organization.created", ("organization", organization.id), name=clean)
    return organization.id


def set_up_url(address: str, link: Token) -> str:
    """Where to open a link. The code is no part of the path: paths are logged."""
    return f"{address.rstrip('/')}/set-up?code={link.reveal()}"


async def first_link(work: Work) -> Token | None:
    """For the start of a server on which nobody can sign in yet: the link that lets the first person in.

    None where there are users, or several organizations: then only the operator can say which one it is for.
    """
    if await store.is_anybody_there(work):
        return None
    known = await organizations.list_organizations(work)
    return None if len(known) > 1 else await issue_link(work, known[0].id if known else None)
