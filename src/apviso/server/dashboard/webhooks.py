"""Webhooks: who is told of what, how it went, and the secrets that messages are signed with."""

from __future__ import annotations

from fastapi.responses import Response
from pydantic import ValidationError

from apviso.client.errors import ApvisoError, Conflict, InvalidRequest
from apviso.protocol.webhooks import DeliveryStatus, NewWebhook, WebhookEvent, WebhookPatch
from apviso.server.dashboard.forms import Form, errors_of
from apviso.server.dashboard.routing import page_router
from apviso.server.dashboard.visitors import Posted, Visiting, Visitor

router = page_router("/webhooks")
PER_PAGE = 50
EVERYTHING = "*"
TONES = {
    DeliveryStatus.SUCCEEDED: "good",
    DeliveryStatus.FAILED: "bad",
    DeliveryStatus.PENDING: "busy",
    DeliveryStatus.HELD: "busy",
    DeliveryStatus.COLLAPSED: "off",
}


@router.get("")
async def list_webhooks(visitor: Visiting) -> Response:
    webhooks = [one async for one in visitor.api.webhooks.all()]
    return visitor.page("webhooks/list.html.j2", live="webhook", webhooks=webhooks)


@router.get("/add")
async def show_add(visitor: Visiting) -> Response:
    # Refused here as well as at the end, so that nobody fills in a form in vain.
    await visitor.api.webhooks.page(limit=1)
    return _form(visitor, {}, {}, {EVERYTHING})


@router.post("/add")
async def add(posted: Posted) -> Response:
    form = posted.form
    try:
        wanted = NewWebhook.model_validate(_told(form))
        issued = await posted.visitor.api.webhooks.add(wanted)
    except (ValidationError, InvalidRequest, Conflict) as error:
        return _form(posted.visitor, _errors(error), dict(form.texts()), set(form.all("events")), status_code=422)
    return posted.visitor.page("webhooks/secret.html.j2", issued=issued, is_new=True)


@router.get("/{id}")
async def show_webhook(id: str, visitor: Visiting, page: int = 1, status: str = "") -> Response:
    wanted = DeliveryStatus(status) if status in set(DeliveryStatus) else None
    webhook = await visitor.api.webhooks.get(id)
    deliveries = await visitor.api.webhooks.deliveries_page(id, max(1, page), PER_PAGE, status=wanted)
    return visitor.page(
        "webhooks/one.html.j2",
        live="webhook runner scan finding report schedule readiness token",
        webhook=webhook,
        deliveries=deliveries,
        status=status,
        statuses=list(DeliveryStatus),
        tones=TONES,
    )


@router.get("/{id}/edit")
async def show_edit(id: str, visitor: Visiting) -> Response:
    webhook = await visitor.api.webhooks.get(id)
    given = {"url": webhook.url, "description": webhook.description or ""}
    return _form(visitor, {}, given, set(webhook.events), webhook_id=id)


@router.post("/{id}/edit")
async def edit(id: str, posted: Posted) -> Response:
    form = posted.form
    try:
        await posted.visitor.api.webhooks.edit(id, WebhookPatch.model_validate(_told(form)))
    except (ValidationError, InvalidRequest) as error:
        return _form(posted.visitor, _errors(error), dict(form.texts()), set(form.all("events")), webhook_id=id, status_code=422)
    return posted.go(f"/webhooks/{id}", "The webhook is changed.")


@router.post("/{id}/enabled")
async def switch(id: str, posted: Posted) -> Response:
    wanted = posted.form.text("enabled") == "yes"
    await posted.visitor.api.webhooks.edit(id, WebhookPatch(enabled=wanted))
    return posted.go(f"/webhooks/{id}", "Messages are sent again." if wanted else "No more messages are sent.")


@router.post("/{id}/test")
async def test(id: str, posted: Posted) -> Response:
    await posted.visitor.api.webhooks.test(id)
    return posted.go(f"/webhooks/{id}", "A test message is on its way; how it went is in the list of deliveries.")


@router.post("/{id}/deliveries/{delivery_id}/replay")
async def replay(id: str, delivery_id: str, posted: Posted) -> Response:
    await posted.visitor.api.webhooks.replay(id, delivery_id)
    return posted.go(f"/webhooks/{id}", "The message is sent again.")


@router.get("/{id}/rotate-secret")
async def ask_rotate(id: str, visitor: Visiting) -> Response:
    return visitor.page("webhooks/rotate.html.j2", webhook=await visitor.api.webhooks.get(id))


@router.post("/{id}/rotate-secret")
async def rotate(id: str, posted: Posted) -> Response:
    issued = await posted.visitor.api.webhooks.rotate_secret(id)
    return posted.visitor.page("webhooks/secret.html.j2", issued=issued, is_new=False)


@router.get("/{id}/delete")
async def ask_delete(id: str, visitor: Visiting) -> Response:
    return visitor.page("webhooks/delete.html.j2", webhook=await visitor.api.webhooks.get(id))


@router.post("/{id}/delete")
async def delete(id: str, posted: Posted) -> Response:
    await posted.visitor.api.webhooks.delete(id)
    return posted.go("/webhooks", "The webhook is gone, with its deliveries.")


def _told(form: Form) -> dict[str, object]:
    events = [EVERYTHING] if EVERYTHING in form.all("events") else form.all("events")
    return {"url": form.text("url"), "events": events, "description": form.maybe("description")}


def _errors(error: ValidationError | ApvisoError) -> dict[str, str]:
    told = errors_of(error)
    if "events" in told:
        told["events"] = "Tick at least one event, or every one."
    return told


def _form(
    visitor: Visitor, errors: dict[str, str], given: dict[str, str], ticked: set[str], *, webhook_id: str = "", status_code: int = 200
) -> Response:
    return visitor.page(
        "webhooks/form.html.j2",
        status_code=status_code,
        webhook_id=webhook_id,
        events=list(WebhookEvent),
        ticked=ticked,
        errors=errors,
        given=given,
    )
