"""Reads rows of webhooks and deliveries. Pure: takes whatever has the columns."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from apviso.protocol.webhooks import Delivery, DeliveryStatus, Webhook
from apviso.server.webhooks.facts import Endpoint, Kind, Known, Sealed
from apviso.server.webhooks.signing import overlap_until


def kept(secrets: Iterable[Sealed]) -> list[dict[str, str | None]]:
    """Secrets as the database keeps them."""
    return [{"sealed": one.text, "until": None if one.until is None else one.until.isoformat()} for one in secrets]


def sealed_of(secrets: Iterable[dict[str, Any]]) -> tuple[Sealed, ...]:
    return tuple(Sealed(one["sealed"], None if one["until"] is None else datetime.fromisoformat(one["until"])) for one in secrets)


def known_of(row: Any, now: datetime) -> Known:
    secrets = sealed_of(row.secrets)
    shown = Webhook(
        id=row.id,
        url=row.url,
        events=row.events,
        description=row.description,
        enabled=row.enabled,
        disabled_reason=row.disabled_reason,
        failing_since=row.failing_since,
        previous_secrets_until=overlap_until(secrets, now),
        created_at=row.created_at,
    )
    return Known(shown, secrets)


def endpoint_of(row: Any) -> Endpoint:
    return Endpoint(row.id, row.organization_id, Kind(row.kind), row.url, frozenset(row.events), row.seen)


def delivery_of(row: Any) -> Delivery:
    return Delivery(
        id=row.id,
        message_id=f"msg_{row.id}",
        event=row.event,
        subject=row.subject,
        event_at=row.event_at,
        status=DeliveryStatus(row.status),
        attempts=row.attempts,
        last_attempt_at=row.last_attempt_at,
        next_attempt_at=row.next_attempt_at,
        response_status=row.response_status,
        duration_ms=row.duration_ms,
        error=row.error,
        finished_at=row.finished_at,
    )
