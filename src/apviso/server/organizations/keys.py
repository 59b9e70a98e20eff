"""Decides what may be done to an API key. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from apviso.protocol.states import Scope
from apviso.server.access import Caller
from apviso.server.errors import InsufficientScope, LastAdminKey, field_refused


def check_grant(caller: Caller, scopes: list[Scope]) -> None:
    """Nobody gives away more than they have. Raises InsufficientScope."""
    lacking = sorted(scope for scope in scopes if not caller.may(scope))
    if lacking:
        raise InsufficientScope(f"The calling key lacks {', '.join(lacking)} and so cannot give it to another.", required=lacking[0])


def check_expiry(expires_at: datetime | None, now: datetime) -> None:
    """Raises InvalidFields for a key that would be born expired."""
    if expires_at is not None and expires_at <= now:
        raise field_refused("expiresAt", "is in the past; name a later time, or leave it out for a key that does not expire")


def check_admin_remains(scopes_of: Mapping[str, frozenset[Scope]], changed: str, scopes: list[Scope] | None = None) -> None:
    """`scopes_of` the keys that work now; `changed` is edited to `scopes` or, without them, revoked. Raises LastAdminKey."""
    had_admin = Scope.ADMIN in scopes_of.get(changed, ())
    has_admin = scopes is not None and Scope.ADMIN in scopes
    if had_admin and not has_admin and not any(Scope.ADMIN in kept for key, kept in scopes_of.items() if key != changed):
        raise LastAdminKey
