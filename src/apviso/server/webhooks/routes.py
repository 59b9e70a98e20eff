"""Webhooks, for administrators: who is told what, how deliveries went, and sending one again."""

from __future__ import annotations

import secrets
from typing import Annotated

from fastapi import APIRouter, Body, Query

from apviso.protocol.webhooks import (
    TEST_EVENT,
    DeliveryAnswer,
    DeliveryList,
    DeliveryStatus,
    IssuedWebhook,
    NewWebhook,
    WebhookAnswer,
    WebhookList,
    WebhookPatch,
)
from apviso.server.access import Administrator, Caller
from apviso.server.audit import store as audit
from apviso.server.db.engine import Work
from apviso.server.errors import (
    AlreadyIssued,
    BodyTooLarge,
    CredentialInvalid,
    CredentialMissing,
    IdempotencyKeyReused,
    InsufficientScope,
    InvalidFields,
    MalformedJson,
    RateLimited,
    WebhookDeliveryNotFound,
    WebhookDisabled,
    WebhookLimitReached,
    WebhookNotFound,
    WrongCredential,
    responses,
)
from apviso.server.idempotency import Idempotent
from apviso.server.organizations import store as organizations
from apviso.server.paging import Paged, Scrolled
from apviso.server.resources import Plant, Reading, Resources, Writing
from apviso.server.signals import DELIVERIES
from apviso.server.stream import store as stream
from apviso.server.webhooks import store
from apviso.server.webhooks.catalogue import payload
from apviso.server.webhooks.destination import Policy, check_url
from apviso.server.webhooks.facts import Message, Sealed
from apviso.server.webhooks.signing import SECRET_BYTES, rotated, secret_of

router = APIRouter(prefix="/api/v1/webhooks", tags=["webhooks"])
DENIED = (CredentialMissing, CredentialInvalid, WrongCredential, InsufficientScope, RateLimited)
CHANGE = (*DENIED, MalformedJson, BodyTooLarge, InvalidFields)
SENDING = (*DENIED, InvalidFields, WebhookNotFound, AlreadyIssued, IdempotencyKeyReused)
MOST_WEBHOOKS = 20
DISABLED_BY_HAND = "An administrator disabled it."
NEW_EXAMPLE = {"url": "https://hooks.example.com/apviso", "events": ["runner.offline", "runner.recovered", "scan.failed"]}


@router.post("", status_code=201, responses=responses(*CHANGE, AlreadyIssued, IdempotencyKeyReused, WebhookLimitReached))
async def create_webhook(
    wanted: Annotated[NewWebhook, Body(examples=[NEW_EXAMPLE])], caller: Administrator, work: Writing, plant: Plant, once: Idempotent
) -> IssuedWebhook:
    """Tell a receiver of the organization's events from now on. The secret that they are signed with is shown here and never again."""

    async def issue() -> IssuedWebhook:
        url = check_url(wanted.url, policy_of(plant))
        await organizations.lock(work, caller.organization_id)
        if await store.count(work, caller.organization_id) >= MOST_WEBHOOKS:
            raise WebhookLimitReached(f"This organization has {MOST_WEBHOOKS} webhooks, as many as it may.", limit=MOST_WEBHOOKS)
        secret = secret_of(secrets.token_bytes(SECRET_BYTES))
        webhook_id = await store.add(
            work,
            caller.organization_id,
            await stream.latest_id(work, caller.organization_id),
            Sealed(plant.vault.seal(secret)),
            url=url.text,
            events=list(dict.fromkeys(wanted.events)),
            description=wanted.description,
            enabled=wanted.enabled,
            disabled_reason=None if wanted.enabled else DISABLED_BY_HAND,
        )
        await _record(work, caller, "webhook.created", webhook_id, host=str(url.place), events=wanted.events)
        return IssuedWebhook(webhook=(await store.get(work, caller.organization_id, webhook_id)).shown, secret=secret)

    return await once.issue(issue)


@router.get("", responses=responses(*DENIED, InvalidFields))
async def list_webhooks(caller: Administrator, work: Reading, page: Paged) -> WebhookList:
    """The organization's webhooks, oldest first. The secrets are not shown."""
    known, total = await store.list_page(work, caller.organization_id, page)
    return WebhookList(webhooks=[one.shown for one in known], **page.counted(total))


@router.get("/{id}", responses=responses(*DENIED, WebhookNotFound))
async def get_webhook(id: str, caller: Administrator, work: Reading) -> WebhookAnswer:
    """One webhook."""
    return WebhookAnswer(webhook=(await store.get(work, caller.organization_id, id)).shown)


@router.patch("/{id}", responses=responses(*CHANGE, WebhookNotFound))
async def edit_webhook(
    id: str, patch: Annotated[WebhookPatch, Body(examples=[{"enabled": False}])], caller: Administrator, work: Writing, plant: Plant
) -> WebhookAnswer:
    """Change where it sends and what. While it is disabled nothing is kept for it; enabled again, it is told what comes from then on."""
    known = await store.get(work, caller.organization_id, id, for_change=True)
    given = patch.model_fields_set
    values = patch.model_dump(include=given, exclude_none=True)
    details = dict(values)
    if "description" in given:
        values["description"] = patch.description
    if patch.url is not None:
        url = check_url(patch.url, policy_of(plant))
        # The rest of the address may hold a secret.
        values["url"], details["url"] = url.text, str(url.place)
    if patch.enabled is True and not known.shown.enabled:
        values |= {"disabled_reason": None, "failing_since": None, "seen": await stream.latest_id(work, caller.organization_id)}
    if patch.enabled is False and known.shown.enabled:
        values["disabled_reason"] = DISABLED_BY_HAND
        await store.close_open(work, known.shown.id, "The webhook was disabled before this was sent.")
        stream.publish(work, caller.organization_id, "webhook.disabled", webhookId=known.shown.id, reason=DISABLED_BY_HAND)
    if values:
        await store.edit(work, known.shown.id, **values)
        await _record(work, caller, "webhook.edited", known.shown.id, **details)
    return WebhookAnswer(webhook=(await store.get(work, caller.organization_id, id)).shown)


@router.delete("/{id}", status_code=204, responses=responses(*DENIED, WebhookNotFound))
async def delete_webhook(id: str, caller: Administrator, work: Writing) -> None:
    """Tell this receiver nothing more, and forget what it was told."""
    known = await store.get(work, caller.organization_id, id, for_change=True)
    await store.remove(work, [known.shown.id])
    await _record(work, caller, "webhook.deleted", known.shown.id)


@router.post("/{id}/rotate-secret", responses=responses(*DENIED, WebhookNotFound))
async def rotate_webhook_secret(id: str, caller: Administrator, work: Writing, plant: Plant) -> IssuedWebhook:
    """Issue a new secret, shown here and never again. For 24 hours messages are signed with the one before it, too."""
    known = await store.get(work, caller.organization_id, id, for_change=True)
    secret = secret_of(secrets.token_bytes(SECRET_BYTES))
    await store.replace_secrets(work, known.shown.id, rotated(known.secrets, Sealed(plant.vault.seal(secret)), work.now))
    await _record(work, caller, "webhook.secret_rotated", known.shown.id)
    return IssuedWebhook(webhook=(await store.get(work, caller.organization_id, id)).shown, secret=secret)


@router.post("/{id}/test", status_code=202, responses=responses(*SENDING))
async def send_test_event(id: str, caller: Administrator, work: Writing, once: Idempotent) -> DeliveryAnswer:
    """Send one message `webhook.test`, once, also where the webhook is disabled. How it went is in the log of deliveries."""

    async def send() -> DeliveryAnswer:
        known = await store.get(work, caller.organization_id, id)
        body = payload(TEST_EVENT, work.now, {"webhookId": known.shown.id})
        message = Message(TEST_EVENT, "webhook", work.now, body, work.now, is_ordered=False)
        (delivery_id,) = await store.enqueue(work, known.shown.id, [message])
        work.hints.add(DELIVERIES)
        return DeliveryAnswer(delivery=await store.get_delivery(work, known.shown.id, delivery_id))

    return await once.create(DeliveryAnswer, send)


@router.get("/{id}/deliveries", responses=responses(*DENIED, WebhookNotFound, InvalidFields))
async def list_webhook_deliveries(
    id: str, caller: Administrator, work: Reading, page: Scrolled, status: Annotated[DeliveryStatus | None, Query()] = None
) -> DeliveryList:
    """What is to be sent, and what was sent in the last week, newest first."""
    known = await store.get(work, caller.organization_id, id)
    deliveries, total, after = await store.list_log(work, known.shown.id, status, page)
    return DeliveryList(deliveries=deliveries, next_cursor=after, **page.counted(total))


@router.post(
    "/{id}/deliveries/{deliveryId}/replay", status_code=202, responses=responses(*SENDING, WebhookDeliveryNotFound, WebhookDisabled)
)
async def replay_webhook_delivery(
    id: str,
    deliveryId: str,  # noqa: N803
    caller: Administrator,
    work: Writing,
    once: Idempotent,
) -> DeliveryAnswer:
    """Send a message again, with the same id and body; one that waits for its next attempt is sent now."""

    async def send() -> DeliveryAnswer:
        known = await store.get(work, caller.organization_id, id, for_change=True)
        if not known.shown.enabled:
            raise WebhookDisabled
        delivery = await store.get_delivery(work, known.shown.id, deliveryId)
        await store.send_again(work, known.shown.id, delivery.id)
        await _record(work, caller, "webhook.delivery_replayed", known.shown.id, delivery=delivery.id)
        work.hints.add(DELIVERIES)
        return DeliveryAnswer(delivery=await store.get_delivery(work, known.shown.id, delivery.id))

    return await once.create(DeliveryAnswer, send)


def policy_of(plant: Resources) -> Policy:
    return Policy(tuple(plant.settings.webhook_allowed_networks), plant.settings.webhook_allow_http)


async def _record(work: Work, caller: Caller, action: str, webhook_id: str, **details: object) -> None:
    await audit.record(work, caller.organization_id, caller.actor, action, ("webhook", webhook_id), caller.request_id, **details)
