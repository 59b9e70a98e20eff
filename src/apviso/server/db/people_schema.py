"""Tables of people who sign in to the dashboard."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from apviso.protocol.wire import OrganizationId
from apviso.server.db.base import Table

_ID = String(36)


class UserRow(Table):
    """A person who may sign in. Without a password, by a link or by a provider of identities alone."""

    __tablename__ = "users"
    id: Mapped[str] = mapped_column(_ID, primary_key=True)
    organization_id: Mapped[OrganizationId] = mapped_column(ForeignKey("organizations.id"), index=True)
    # In lower case. One over all organizations: whoever signs in names no organization.
    email: Mapped[str] = mapped_column(String(254), unique=True)
    name: Mapped[str] = mapped_column(String(120))
    role: Mapped[str] = mapped_column(String(10))
    password_argon2: Mapped[str | None] = mapped_column(String(200))
    # Who this is at the provider of identities, once they have come from there.
    oidc_subject: Mapped[str | None] = mapped_column(String(255), unique=True)
    created_at: Mapped[datetime]
    last_sign_in_at: Mapped[datetime | None]


class SessionRow(Table):
    """A browser that somebody has signed in with. A session that ended is gone."""

    __tablename__ = "sessions"
    id: Mapped[str] = mapped_column(_ID, primary_key=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    prefix: Mapped[str] = mapped_column(String(12), unique=True)
    secret_sha256: Mapped[str] = mapped_column(String(64))
    address: Mapped[str] = mapped_column(String(64))
    user_agent: Mapped[str] = mapped_column(String(300))
    created_at: Mapped[datetime]
    last_seen_at: Mapped[datetime]
    expires_at: Mapped[datetime] = mapped_column(index=True)


class SignInLinkRow(Table):
    """A link that works once: for a user to choose a password, or for whoever has it to become an owner."""

    __tablename__ = "sign_in_links"
    id: Mapped[str] = mapped_column(_ID, primary_key=True)
    prefix: Mapped[str] = mapped_column(String(12), unique=True)
    secret_sha256: Mapped[str] = mapped_column(String(64))
    # Of the owner that the link makes; without one, the organization is made as well.
    organization_id: Mapped[OrganizationId | None] = mapped_column(ForeignKey("organizations.id"))
    user_id: Mapped[str | None] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime] = mapped_column(index=True)
