"""Webhooks: which events there are, how a webhook is shown, and what became of each delivery."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from apviso.protocol.wire import Instant, Note, Url, Wire


class WebhookEvent(StrEnum):
    """What a webhook may want to be told."""

    RUNNER_ENROLLED = "runner.enrolled"
    RUNNER_ONLINE = "runner.online"
    RUNNER_DEGRADED = "runner.degraded"
    RUNNER_OFFLINE = "runner.offline"
    RUNNER_RECOVERED = "runner.recovered"
    RUNNER_QUARANTINED = "runner.quarantined"
    RUNNER_REVOKED = "runner.revoked"
    RUNNER_VERSION_DEPRECATED = "runner.version_deprecated"
    TOKEN_EXPIRING = "token.expiring"  # noqa: S105  # the name of an event
    SCAN_STARTED = "scan.started"
    SCAN_COMPLETED = "scan.completed"
    SCAN_FAILED = "scan.failed"
    SCAN_CANCELLED = "scan.cancelled"
    SCAN_STALE = "scan.stale"
    SCAN_REQUEUED = "scan.requeued"
    FINDING_CREATED = "finding.created"
    FINDING_REOPENED = "finding.reopened"
    REPORT_READY = "report.ready"
    SCHEDULE_TRIGGERED = "schedule.triggered"
    SCHEDULE_SKIPPED = "schedule.skipped"
    READINESS_CHANGED = "readiness.changed"


# Sent by POST /test alone, whatever a webhook wants.
TEST_EVENT = "webhook.test"

Everything = Literal["*"]
Wanted = Annotated[list[WebhookEvent | Everything], Field(min_length=1, max_length=len(WebhookEvent) + 1)]


class NewWebhook(Wire):
    """`events` are names from the list of events, or `*` for every one, also for those of later versions."""

    url: Url
    events: Wanted
    description: Note | None = None
    enabled: bool = True


class WebhookPatch(Wire):
    url: Url | None = None
    events: Wanted | None = None
    description: Note | None = None
    enabled: bool | None = None


class Webhook(Wire):
    """`failingSince`: since when no delivery has succeeded; null while all is well. `previousSecretsUntil`: messages carry
    signatures with earlier secrets, too, until then."""

    id: str
    url: str
    events: list[str]
    description: str | None
    enabled: bool
    disabled_reason: str | None
    failing_since: Instant | None
    previous_secrets_until: Instant | None
    created_at: Instant


class WebhookAnswer(Wire):
    webhook: Webhook


class IssuedWebhook(Wire):
    """The only answer that ever holds the secret."""

    webhook: Webhook
    secret: str = Field(repr=False)


class WebhookList(Wire):
    webhooks: list[Webhook]
    total: int
    page: int
    limit: int
    total_pages: int


class DeliveryStatus(StrEnum):
    """`held`: waits to see whether a runner that comes and goes stays so. `collapsed`: it did not, so nothing was sent."""

    PENDING = "pending"
    HELD = "held"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    COLLAPSED = "collapsed"


class Delivery(Wire):
    """One message for one webhook. `messageId` is what the receiver sees in `webhook-id`, the same in every attempt."""

    id: str
    message_id: str
    event: str
    subject: str
    event_at: Instant
    status: DeliveryStatus
    attempts: int
    last_attempt_at: Instant | None
    next_attempt_at: Instant | None
    response_status: int | None
    duration_ms: int | None
    error: str | None
    finished_at: Instant | None


class DeliveryAnswer(Wire):
    delivery: Delivery


class DeliveryList(Wire):
    deliveries: list[Delivery]
    total: int
    page: int
    limit: int
    total_pages: int
    next_cursor: str | None = None
