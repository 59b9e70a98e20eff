"""The first way in: an organization and a key with every scope, made by whoever operates the host."""

from __future__ import annotations

from dataclasses import dataclass, field

from apviso.protocol.states import Scope
from apviso.protocol.tokens import Namespace, Token, new_token
from apviso.protocol.wire import OrganizationId
from apviso.server.audit import store as audit
from apviso.server.db.engine import Work
from apviso.server.organizations import store

EVERY_SCOPE = [Scope.ADMIN, Scope.RUNNERS_ALL, Scope.TARGETS_ALL, Scope.SCANS_ALL, Scope.FINDINGS_ALL]


@dataclass(frozen=True)
class WayIn:
    """`key` is the only copy of the secret."""

    organization_id: OrganizationId
    key: Token = field(repr=False)


async def bootstrap(work: Work, name: str) -> WayIn:
    """Create the organization, or find it, and issue a key. Each run issues another key; earlier ones keep working."""
    is_new = await store.create(work, name)
    organization = await store.find_by_name(work, name)
    assert organization is not None
    if is_new:
        subject = ("organization", organization.id)
        await audit.record(work, organization.id, audit.OPERATOR, "organization.created", subject, name=name)
    token = new_token(Namespace.API_KEY)
    api_key = await store.add_key(work, organization.id, token, "bootstrap", EVERY_SCOPE, None)
    await audit.record(work, organization.id, audit.OPERATOR, "api_key.created", ("api_key", api_key.id), name=api_key.name)
    return WayIn(organization.id, token)
