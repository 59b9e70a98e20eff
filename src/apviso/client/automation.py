"""What goes on by itself: schedules that start scans, webhooks that tell of events. Each method is one line that says which call it is."""

from __future__ import annotations

from apviso.client.calls import Call, act, change, create, get, remove, segment
from apviso.client.endpoints import Each, Endpoint, Resource, Way
from apviso.client.listing import Listing, listing
from apviso.protocol.schedules import (
    DetailedSchedule,
    NewSchedule,
    Schedule,
    ScheduleAnswer,
    ScheduleList,
    SchedulePatch,
    ScheduleRun,
    ScheduleRunList,
)
from apviso.protocol.webhooks import (
    Delivery,
    DeliveryAnswer,
    DeliveryList,
    DeliveryStatus,
    IssuedWebhook,
    NewWebhook,
    Webhook,
    WebhookAnswer,
    WebhookList,
    WebhookPatch,
)


class Schedules(Resource[Way]):
    @Endpoint
    def add(self, wanted: NewSchedule) -> Call[DetailedSchedule]:
        return create("/schedules", wanted, ScheduleAnswer).then(lambda answer: answer.schedule)

    @Endpoint
    def page(self, page: int = 1, limit: int = 50, *, target_id: str | None = None) -> Call[ScheduleList]:
        return get("/schedules", ScheduleList, page=page, limit=limit, target_id=target_id)

    @Each
    def all(self, *, target_id: str | None = None) -> Listing[ScheduleList, Schedule]:
        return listing("/schedules", ScheduleList, lambda answer: answer.schedules, target_id=target_id)

    @Endpoint
    def get(self, schedule_id: str) -> Call[DetailedSchedule]:
        return get(f"/schedules/{segment(schedule_id)}", ScheduleAnswer).then(lambda answer: answer.schedule)

    @Endpoint
    def edit(self, schedule_id: str, patch: SchedulePatch) -> Call[DetailedSchedule]:
        return change(f"/schedules/{segment(schedule_id)}", patch, ScheduleAnswer).then(lambda answer: answer.schedule)

    @Endpoint
    def delete(self, schedule_id: str) -> Call[None]:
        return remove(f"/schedules/{segment(schedule_id)}")

    @Endpoint
    def page_of_runs(self, schedule_id: str, page: int = 1, limit: int = 50) -> Call[ScheduleRunList]:
        return get(f"/schedules/{segment(schedule_id)}/runs", ScheduleRunList, page=page, limit=limit)

    @Each
    def runs(self, schedule_id: str) -> Listing[ScheduleRunList, ScheduleRun]:
        """What became of each run that was due, newest first."""
        return listing(f"/schedules/{segment(schedule_id)}/runs", ScheduleRunList, lambda answer: answer.runs)


class Webhooks(Resource[Way]):
    @Endpoint
    def add(self, wanted: NewWebhook) -> Call[IssuedWebhook]:
        """The only answer that ever holds the secret."""
        return create("/webhooks", wanted, IssuedWebhook)

    @Endpoint
    def page(self, page: int = 1, limit: int = 50) -> Call[WebhookList]:
        return get("/webhooks", WebhookList, page=page, limit=limit)

    @Each
    def all(self) -> Listing[WebhookList, Webhook]:
        return listing("/webhooks", WebhookList, lambda answer: answer.webhooks)

    @Endpoint
    def get(self, webhook_id: str) -> Call[Webhook]:
        return get(_of_webhook(webhook_id), WebhookAnswer).then(lambda answer: answer.webhook)

    @Endpoint
    def edit(self, webhook_id: str, patch: WebhookPatch) -> Call[Webhook]:
        return change(_of_webhook(webhook_id), patch, WebhookAnswer).then(lambda answer: answer.webhook)

    @Endpoint
    def delete(self, webhook_id: str) -> Call[None]:
        return remove(_of_webhook(webhook_id))

    @Endpoint
    def rotate_secret(self, webhook_id: str) -> Call[IssuedWebhook]:
        """A new secret, in this answer alone."""
        return act(f"{_of_webhook(webhook_id)}/rotate-secret", None, IssuedWebhook)

    @Endpoint
    def test(self, webhook_id: str) -> Call[Delivery]:
        """Sends one message `webhook.test`; how it went is in its deliveries."""
        return create(f"{_of_webhook(webhook_id)}/test", None, DeliveryAnswer).then(lambda answer: answer.delivery)

    @Each
    def deliveries(self, webhook_id: str, *, status: DeliveryStatus | None = None) -> Listing[DeliveryList, Delivery]:
        """Newest first."""
        return listing(f"{_of_webhook(webhook_id)}/deliveries", DeliveryList, lambda answer: answer.deliveries, status=status)

    @Endpoint
    def deliveries_page(
        self, webhook_id: str, page: int = 1, limit: int = 50, *, status: DeliveryStatus | None = None
    ) -> Call[DeliveryList]:
        return get(f"{_of_webhook(webhook_id)}/deliveries", DeliveryList, page=page, limit=limit, status=status)

    @Endpoint
    def replay(self, webhook_id: str, delivery_id: str) -> Call[Delivery]:
        path = f"{_of_webhook(webhook_id)}/deliveries/{segment(delivery_id)}/replay"
        return create(path, None, DeliveryAnswer).then(lambda answer: answer.delivery)


def _of_webhook(webhook_id: str) -> str:
    return f"/webhooks/{segment(webhook_id)}"
