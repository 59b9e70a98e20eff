"""What the rules of webhooks read, and what they decide."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from apviso.protocol.webhooks import Webhook
from apviso.protocol.wire import OrganizationId


class Kind(StrEnum):
    """Whom a webhook tells: a receiver of the organization's choice, or a service of the operator's."""

    WEBHOOK = "webhook"
    NOTIFY = "notify"


@dataclass(frozen=True)
class Sealed:
    """A secret as it is kept, and until when messages are signed with it; without an end it is the one in force."""

    text: str = field(repr=False)
    until: datetime | None = None


@dataclass(frozen=True)
class Known:
    """A webhook as it is shown, and what is not."""

    shown: Webhook
    secrets: tuple[Sealed, ...]


@dataclass(frozen=True)
class Endpoint:
    """A webhook as deliveries need it. Events of the live stream up to `seen` are dealt with."""

    id: str
    organization_id: OrganizationId
    kind: Kind
    url: str = field(repr=False)
    events: frozenset[str]
    seen: int


@dataclass(frozen=True)
class Message:
    """What is to be put into the queue of one webhook."""

    event: str
    subject: str
    at: datetime
    body: str
    # When the receiver is told at the earliest; later than `at` where a flapping runner is waited for.
    told_at: datetime
    is_transition: bool = False
    is_ordered: bool = True


@dataclass(frozen=True)
class Claimed:
    """A delivery that this process sends now. `attempt` counts from 1 and is the fence for writing down how it went."""

    number: int
    message_id: str
    webhook_id: str
    organization_id: OrganizationId
    kind: Kind
    url: str = field(repr=False)
    secrets: tuple[Sealed, ...]
    event: str
    body: str
    attempt: int
    failing_since: datetime | None


@dataclass(frozen=True)
class Outcome:
    """How an attempt went; without `error` the receiver has taken the message."""

    error: str | None
    status: int | None = None
    retry_after_seconds: float | None = None
