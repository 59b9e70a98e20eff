"""All SQL of users, their sessions and sign-in links."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import uuid_utils
from sqlalchemy import ColumnElement, Select, delete, func, insert, or_, select, update

from apviso.protocol.tokens import Token
from apviso.protocol.wire import OrganizationId
from apviso.server.accounts.roles import Role
from apviso.server.db.engine import Work
from apviso.server.db.people_schema import SessionRow, SignInLinkRow, UserRow
from apviso.server.db.schema import OrganizationRow

# A read of a page is no write: when somebody was last seen is written at most this often.
TOUCH_EVERY = timedelta(minutes=1)


@dataclass(frozen=True)
class User:
    """A person. `has_password`: whether one was chosen."""

    id: str
    organization_id: OrganizationId
    email: str
    name: str
    role: Role
    has_password: bool
    created_at: datetime
    last_sign_in_at: datetime | None

    @property
    def actor(self) -> str:
        """As the audit trail names them."""
        return f"user:{self.email}"


@dataclass(frozen=True)
class Session:
    """A browser that somebody has signed in with."""

    id: str
    user_id: str
    address: str
    user_agent: str
    created_at: datetime
    last_seen_at: datetime
    expires_at: datetime


@dataclass(frozen=True)
class KnownSession:
    """Who is behind a token of a session."""

    session: Session
    user: User
    organization: str
    digest: str = field(repr=False)


@dataclass(frozen=True)
class Link:
    """A link that works once. Without a user it makes an owner; without an organization that as well."""

    id: str
    organization_id: OrganizationId | None
    user_id: str | None
    expires_at: datetime
    digest: str = field(repr=False)


_USER = (
    UserRow.id,
    UserRow.organization_id,
    UserRow.email,
    UserRow.name,
    UserRow.role,
    UserRow.password_argon2.is_not(None).label("has_password"),
    UserRow.created_at,
    UserRow.last_sign_in_at,
)
_SESSION = (
    SessionRow.id,
    SessionRow.user_id,
    SessionRow.address,
    SessionRow.user_agent,
    SessionRow.created_at,
    SessionRow.last_seen_at,
    SessionRow.expires_at,
)


def _user(row: Any) -> User:
    return User(
        row.id, row.organization_id, row.email, row.name, Role(row.role), bool(row.has_password), row.created_at, row.last_sign_in_at
    )


async def is_anybody_there(work: Work) -> bool:
    """Whether any user of any organization exists."""
    return await work.db.scalar(select(UserRow.id).limit(1)) is not None


async def add(work: Work, organization_id: OrganizationId, email: str, name: str, role: Role) -> User:
    """A user without a password yet."""
    user = User(str(uuid_utils.uuid7()), organization_id, email, name, role, False, work.now, None)
    await work.db.execute(
        insert(UserRow).values(
            id=user.id, organization_id=organization_id, email=email, name=name, role=role, password_argon2=None, created_at=work.now
        )
    )
    return user


async def is_taken(work: Work, email: str) -> bool:
    """Whether any organization has a user with this address."""
    return await work.db.scalar(select(UserRow.id).where(UserRow.email == email)) is not None


async def find(work: Work, organization_id: OrganizationId, user_id: str) -> User | None:
    row = (await work.db.execute(select(*_USER).where(UserRow.organization_id == organization_id, UserRow.id == user_id))).one_or_none()
    return None if row is None else _user(row)


async def find_by_email(work: Work, email: str) -> tuple[User, str | None] | None:
    """A user of any organization, with the digest of the password."""
    row = (await work.db.execute(select(*_USER, UserRow.password_argon2).where(UserRow.email == email))).one_or_none()
    return None if row is None else (_user(row), row.password_argon2)


async def find_by_subject(work: Work, subject: str) -> User | None:
    """Who this is at the provider of identities."""
    row = (await work.db.execute(select(*_USER).where(UserRow.oidc_subject == subject))).one_or_none()
    return None if row is None else _user(row)


async def keep_subject(work: Work, user: User, subject: str) -> bool:
    """False where the user is another account of the provider's already."""
    won = await work.db.execute(update(UserRow).where(UserRow.id == user.id, UserRow.oidc_subject.is_(None)).values(oidc_subject=subject))
    return won.rowcount == 1


async def list_users(work: Work, organization_id: OrganizationId) -> list[User]:
    rows = await work.db.execute(select(*_USER).where(UserRow.organization_id == organization_id).order_by(UserRow.email))
    return [_user(row) for row in rows]


async def count_users(work: Work, organization_id: OrganizationId) -> int:
    return await work.db.scalar(select(func.count()).select_from(UserRow).where(UserRow.organization_id == organization_id)) or 0


async def edit(work: Work, organization_id: OrganizationId, user_id: str, **values: Any) -> bool:
    won = await work.db.execute(update(UserRow).where(UserRow.organization_id == organization_id, UserRow.id == user_id).values(**values))
    return won.rowcount == 1


async def remove(work: Work, organization_id: OrganizationId, user_id: str) -> bool:
    """With all their sessions and links."""
    won = await work.db.execute(delete(UserRow).where(UserRow.organization_id == organization_id, UserRow.id == user_id))
    return won.rowcount == 1


async def add_session(work: Work, user: User, token: Token, address: str, user_agent: str, expires_at: datetime) -> str:
    session_id = str(uuid_utils.uuid7())
    await work.db.execute(
        insert(SessionRow).values(
            id=session_id,
            user_id=user.id,
            prefix=token.prefix,
            secret_sha256=token.digest(),
            address=address[:64],
            user_agent=user_agent[:300],
            created_at=work.now,
            last_seen_at=work.now,
            expires_at=expires_at,
        )
    )
    return session_id


async def find_session(work: Work, prefix: str) -> KnownSession | None:
    """Whatever its age; whether it still holds is judged elsewhere."""
    row = (
        await work.db.execute(
            select(
                *(column.label(f"session_{column.key}") for column in _SESSION),
                *_USER,
                SessionRow.secret_sha256,
                OrganizationRow.name.label("organization"),
            )
            .join(UserRow, UserRow.id == SessionRow.user_id)
            .join(OrganizationRow, OrganizationRow.id == UserRow.organization_id)
            .where(SessionRow.prefix == prefix)
        )
    ).one_or_none()
    if row is None:
        return None
    kept = row._mapping
    session = Session(**{str(column.key): kept[f"session_{column.key}"] for column in _SESSION})
    return KnownSession(session, _user(row), row.organization, row.secret_sha256)


async def touch_session(work: Work, session_id: str) -> None:
    await work.db.execute(update(SessionRow).where(SessionRow.id == session_id).values(last_seen_at=work.now))


async def list_sessions(work: Work, organization_id: OrganizationId, user_id: str) -> Sequence[Session]:
    """Newest first; a user has few."""
    rows = await work.db.execute(
        select(*_SESSION)
        .join(UserRow, UserRow.id == SessionRow.user_id)
        .where(UserRow.organization_id == organization_id, SessionRow.user_id == user_id, SessionRow.expires_at > work.now)
        .order_by(SessionRow.last_seen_at.desc())
    )
    return [Session(**dict(row)) for row in rows.mappings()]


async def end_session(work: Work, user_id: str, session_id: str) -> bool:
    won = await work.db.execute(delete(SessionRow).where(SessionRow.user_id == user_id, SessionRow.id == session_id))
    return won.rowcount == 1


async def end_sessions(work: Work, user_id: str, besides: str | None = None) -> int:
    """All of a user's, or all but one."""
    gone = delete(SessionRow).where(SessionRow.user_id == user_id)
    won = await work.db.execute(gone if besides is None else gone.where(SessionRow.id != besides))
    return won.rowcount


async def add_link(work: Work, token: Token, organization_id: OrganizationId | None, user_id: str | None, expires_at: datetime) -> None:
    await work.db.execute(
        insert(SignInLinkRow).values(
            id=str(uuid_utils.uuid7()),
            prefix=token.prefix,
            secret_sha256=token.digest(),
            organization_id=organization_id,
            user_id=user_id,
            created_at=work.now,
            expires_at=expires_at,
        )
    )


async def find_link(work: Work, prefix: str) -> Link | None:
    row = (
        await work.db.execute(
            select(
                SignInLinkRow.id,
                SignInLinkRow.organization_id,
                SignInLinkRow.user_id,
                SignInLinkRow.expires_at,
                SignInLinkRow.secret_sha256,
            ).where(SignInLinkRow.prefix == prefix)
        )
    ).one_or_none()
    return None if row is None else Link(row.id, row.organization_id, row.user_id, row.expires_at, row.secret_sha256)


async def use_link(work: Work, link_id: str) -> bool:
    """Take a link for good; False where another was faster."""
    won = await work.db.execute(delete(SignInLinkRow).where(SignInLinkRow.id == link_id))
    return won.rowcount == 1


async def drop_links(work: Work, user_id: str) -> None:
    """An older link of a user works no more once there is a newer one."""
    await work.db.execute(delete(SignInLinkRow).where(SignInLinkRow.user_id == user_id))


def _is_over(moment: datetime, last_seen_before: datetime) -> ColumnElement[bool]:
    return or_(SessionRow.expires_at < moment, SessionRow.last_seen_at < last_seen_before)


def over(moment: datetime, last_seen_before: datetime) -> tuple[Select[Any], Select[Any]]:
    """Sessions that have run out or that nobody has used since, and links that have run out."""
    links = select(SignInLinkRow.id).where(SignInLinkRow.expires_at < moment)
    return select(SessionRow.id).where(_is_over(moment, last_seen_before)), links


async def forget_before(work: Work, moment: datetime, last_seen_before: datetime) -> None:
    await work.db.execute(delete(SessionRow).where(_is_over(moment, last_seen_before)))
    await work.db.execute(delete(SignInLinkRow).where(SignInLinkRow.expires_at < moment))
