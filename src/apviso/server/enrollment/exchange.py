"""Decides whether an enrollment token may be exchanged. Pure."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum, auto

from apviso.protocol.runners import TokenStatus
from apviso.protocol.wire import OrganizationId, RunnerId
from apviso.server.errors import EnrollmentTokenExpired, EnrollmentTokenRevoked, EnrollmentTokenUsed


class Exchange(Enum):
    NEW = auto()
    REPEAT = auto()


@dataclass(frozen=True)
class KnownEnrollment:
    prefix: str
    organization_id: OrganizationId
    digest: str = field(repr=False)
    name: str | None
    labels: list[str]
    ephemeral: bool
    expires_at: datetime
    revoked_at: datetime | None
    used_at: datetime | None
    exchange_key_sha256: str | None = field(repr=False)
    runner_id: RunnerId | None


def digest_of(exchange_key: str | None) -> str | None:
    return hashlib.sha256(exchange_key.encode()).hexdigest() if exchange_key is not None else None


def judge(token: KnownEnrollment, exchange_key_sha256: str | None, now: datetime, retry_window: timedelta) -> Exchange:
    """A first exchange, or the repeat of one whose answer was lost. Raises what is wrong with the token; its secret has been verified."""
    if token.used_at is not None:
        if now - token.used_at <= retry_window and _same(token.exchange_key_sha256, exchange_key_sha256):
            return Exchange.REPEAT
        raise EnrollmentTokenUsed
    if token.revoked_at is not None:
        raise EnrollmentTokenRevoked
    if token.expires_at <= now:
        raise EnrollmentTokenExpired
    return Exchange.NEW


def status_at(
    used_at: datetime | None, revoked_at: datetime | None, expires_at: datetime, now: datetime
) -> tuple[TokenStatus, datetime | None]:
    """What has become of a token, and since when."""
    if used_at is not None:
        return TokenStatus.USED, used_at
    if revoked_at is not None:
        return TokenStatus.REVOKED, revoked_at
    return (TokenStatus.EXPIRED, expires_at) if expires_at <= now else (TokenStatus.OUTSTANDING, None)


def _same(kept: str | None, given: str | None) -> bool:
    return kept is not None and given is not None and hmac.compare_digest(kept, given)
