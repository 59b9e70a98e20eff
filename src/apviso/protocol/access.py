"""API keys and audit events, as administrators see them."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from apviso.protocol.states import Scope
from apviso.protocol.wire import Facts, Instant, Name, Wire

Scopes = Annotated[list[Scope], Field(min_length=1, max_length=len(Scope))]


class NewApiKey(Wire):
    name: Name
    scopes: Scopes
    expires_at: Instant | None = None


class ApiKeyPatch(Wire):
    name: Name | None = None
    scopes: Scopes | None = None


class ApiKey(Wire):
    id: str
    name: str
    key_prefix: str
    scopes: list[Scope]
    created_at: Instant
    expires_at: Instant | None
    last_used_at: Instant | None


class ApiKeyAnswer(Wire):
    api_key: ApiKey


class IssuedApiKey(Wire):
    """The only answer that ever holds the key."""

    api_key: ApiKey
    key: str = Field(repr=False)


class ApiKeyList(Wire):
    api_keys: list[ApiKey]
    total: int
    page: int
    limit: int
    total_pages: int


class AuditEvent(Wire):
    """Who changed what.

    `actor` is a token prefix, `runner:<id>`, `schedule:<id>`, `operator` (the host's command line) or `system` (a timer).
    """

    id: str
    at: Instant
    actor: str
    action: str
    subject_type: str
    subject_id: str
    details: Facts
    request_id: str | None


class AuditEventList(Wire):
    audit_events: list[AuditEvent]
    total: int
    page: int
    limit: int
    total_pages: int
    next_cursor: str | None = None
