"""Ends a webhook: the one place where it is stopped, with its trail."""

from __future__ import annotations

from apviso.protocol.wire import OrganizationId
from apviso.server.audit import store as audit
from apviso.server.db.engine import Work
from apviso.server.metrics import WEBHOOKS_DISABLED
from apviso.server.stream import store as stream
from apviso.server.webhooks import store


async def end(work: Work, organization_id: OrganizationId, webhook_id: str, reason: str) -> None:
    """Stop a webhook that does not work any more. What waits is given up, and can be sent again from the log."""
    if not await store.disable(work, webhook_id, reason):
        return
    await store.close_open(work, webhook_id, "The webhook was disabled before this was sent.")
    await audit.record(work, organization_id, audit.SYSTEM, "webhook.disabled", ("webhook", webhook_id), None, reason=reason)
    stream.publish(work, organization_id, "webhook.disabled", webhookId=webhook_id, reason=reason)
    work.afterwards.append(WEBHOOKS_DISABLED.inc)
