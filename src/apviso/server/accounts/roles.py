"""Decides what a role may do. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from apviso.protocol.states import Scope
from apviso.server.accounts.errors import Declined, NotPermitted


class Role(StrEnum):
    """`viewer` looks, `operator` works, `admin` also lets others in, `owner` also makes and unmakes owners."""

    OWNER = "owner"
    ADMIN = "admin"
    OPERATOR = "operator"
    VIEWER = "viewer"


_LOOKS = frozenset({Scope.RUNNERS_READ, Scope.TARGETS_READ, Scope.SCANS_READ, Scope.FINDINGS_READ})
_WORKS = frozenset({Scope.RUNNERS_ALL, Scope.TARGETS_ALL, Scope.SCANS_ALL, Scope.FINDINGS_ALL})
_RANK = {Role.VIEWER: 0, Role.OPERATOR: 1, Role.ADMIN: 2, Role.OWNER: 3}


def scopes_of(role: Role) -> frozenset[Scope]:
    """The scopes of an API key that may do what the role may do."""
    match role:
        case Role.VIEWER:
            return _LOOKS
        case Role.OPERATOR:
            return _WORKS
        case Role.ADMIN | Role.OWNER:
            return _WORKS | {Scope.ADMIN}


def check_may_manage(actor: Role, of: Role, to: Role | None = None) -> None:
    """Whether `actor` may change a user of the role `of`, or give the role `to`. Raises Declined."""
    if _RANK[actor] < _RANK[Role.ADMIN]:
        raise NotPermitted("Only an admin or an owner may manage users.")
    if max(_RANK[of], _RANK[to or of]) > _RANK[actor]:
        raise NotPermitted("Only an owner may make an owner, or change one.")


def check_owner_remains(roles: Mapping[str, Role], changed: str, to: Role | None = None) -> None:
    """`roles` of the users who may sign in; `changed` gets the role `to` or, without one, goes. Raises Declined."""
    after = {user: role for user, role in roles.items() if user != changed} | ({} if to is None else {changed: to})
    if roles.get(changed) is Role.OWNER and Role.OWNER not in after.values():
        raise Declined("This is the last owner; make somebody else an owner first.")
