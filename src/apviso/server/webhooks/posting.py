"""Sends what is in the queues: bounded in number, in order for each subject, each message until it was taken or a day has passed."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta

import structlog

from apviso import __version__
from apviso.protocol.webhooks import TEST_EVENT, DeliveryStatus
from apviso.server.db.engine import Work
from apviso.server.errors import DatabaseUnavailable
from apviso.server.metrics import delivery_attempted
from apviso.server.resources import Resources
from apviso.server.signals import DELIVERIES
from apviso.server.vault import CannotOpen
from apviso.server.webhooks import store
from apviso.server.webhooks.destination import Policy
from apviso.server.webhooks.ending import end
from apviso.server.webhooks.facts import Claimed, Kind, Outcome
from apviso.server.webhooks.notifying import Services
from apviso.server.webhooks.places import MOST_AT_ONCE, Places
from apviso.server.webhooks.retries import Verdict, after
from apviso.server.webhooks.sending import Sender
from apviso.server.webhooks.signing import headers, in_force

log = structlog.get_logger("apviso.webhooks")
# Longer than any attempt takes, its writing down included: who dies while sending is relieved after it.
LEASE = timedelta(seconds=90)
# The timed duties wake whoever sends; this is for the hint that was lost.
POLL_SECONDS = 2.0
DATABASE_SECONDS = 30.0
# What is under way when the process ends gets this long.
GRACE_SECONDS = 5.0
_KEPT_AS = {
    Verdict.SUCCEEDED: DeliveryStatus.SUCCEEDED,
    Verdict.RETRIED: DeliveryStatus.PENDING,
    Verdict.GIVEN_UP: DeliveryStatus.FAILED,
}


@dataclass
class Desk:
    """What sends, and what is under way."""

    plant: Resources
    sender: Sender
    services: Services
    places: Places = field(default_factory=Places)
    under_way: dict[asyncio.Task[None], Claimed] = field(default_factory=dict)
    # Numbers of those whose receiver has not answered yet.
    unanswered: set[int] = field(default_factory=set)

    async def take(self) -> list[Claimed]:
        """Claim what is due and fits beside what is under way."""
        free = MOST_AT_ONCE - len(self.under_way)
        load = Counter(one.webhook_id for one in self.under_way.values())
        if free <= 0:
            return []
        async with self.plant.database.reading() as work:
            due = await store.list_due(work, self.places.full(load), free)
        numbers: list[int] = []
        for number, webhook_id in due:
            if self.places.has_room(webhook_id, load):
                load[webhook_id] += 1
                numbers.append(number)
        if not numbers:
            return []
        async with self.plant.database.writing() as work:
            return await store.claim(work, numbers, LEASE)

    async def carry_out(self, claimed: Claimed) -> None:
        """One attempt, and what becomes of the message then."""
        began = time.perf_counter()
        try:
            self.unanswered.add(claimed.number)
            outcome = await self._attempt(claimed)
            self.unanswered.discard(claimed.number)
            seconds = time.perf_counter() - began
            self.places.note(claimed.webhook_id, seconds)

            async def unit() -> Verdict | None:
                async with self.plant.database.writing() as work:
                    return await _write_down(work, claimed, outcome, seconds)

            verdict = await self.plant.database.again(unit)
        except DatabaseUnavailable as refusal:
            # Nobody knows that it was sent: it is sent again when the lease has run out.
            log.warning("delivery not written down", delivery=claimed.message_id, reason=refusal.detail)
            return
        except Exception:  # the next attempt does what this one could not
            log.exception("delivery failed", delivery=claimed.message_id)
            return
        if verdict is not None:
            delivery_attempted(claimed.kind, verdict, seconds)
        if verdict is Verdict.GIVEN_UP:
            log.warning("delivery given up", delivery=claimed.message_id, webhook=claimed.webhook_id, reason=outcome.error)

    async def _attempt(self, claimed: Claimed) -> Outcome:
        if claimed.kind is Kind.NOTIFY:
            return await self.services.send(claimed.url, claimed.body)
        now = self.plant.database.clock()
        try:
            secrets = [self.plant.vault.open(one.text) for one in in_force(claimed.secrets, now)]
        except CannotOpen:
            log.error("secret of a webhook sealed with another key", webhook=claimed.webhook_id)  # noqa: TRY400  # says nothing more
            return Outcome("The server cannot read the webhook's secret: it was sealed with another key. Rotate the secret.")
        body = claimed.body.encode()
        sent = {
            "content-type": "application/json",
            "user-agent": f"apviso/{__version__}",
            **headers(secrets, claimed.message_id, now, body),
        }
        return await self.sender.send(claimed.url, sent, body, now)


async def _write_down(work: Work, claimed: Claimed, outcome: Outcome, seconds: float) -> Verdict | None:
    """None where another process has taken the message over meanwhile."""
    then = after(claimed, outcome, work.now, random.random())  # noqa: S311  # no secret hangs on it
    told = {"response_status": outcome.status, "error": outcome.error, "duration_ms": round(seconds * 1000), "next_attempt_at": then.at}
    if not await store.settle(work, claimed, _KEPT_AS[then.verdict], **told):
        return None
    if then.verdict is Verdict.SUCCEEDED:
        await store.note_well(work, claimed.webhook_id)
    elif claimed.event != TEST_EVENT:
        await store.note_failing(work, claimed.webhook_id)
    if then.disabled_for is not None:
        await end(work, claimed.organization_id, claimed.webhook_id, then.disabled_for)
    return then.verdict


async def _serve(desk: Desk, is_over: asyncio.Event) -> None:
    plant = desk.plant
    with plant.signals.listening(DELIVERIES) as listener:
        async with asyncio.TaskGroup() as group:

            def ended(task: asyncio.Task[None]) -> None:
                desk.under_way.pop(task, None)
                plant.signals.deliver(DELIVERIES)

            while not is_over.is_set():
                try:
                    async with asyncio.timeout(DATABASE_SECONDS):
                        taken = await desk.take()
                except DatabaseUnavailable as refusal:
                    log.warning("deliveries put off", reason=refusal.detail)
                    taken = []
                except Exception:  # the next look does what this one could not
                    log.exception("look for deliveries failed")
                    taken = []
                for claimed in taken:
                    task = group.create_task(desk.carry_out(claimed), name=f"deliver-{claimed.number}")
                    desk.under_way[task] = claimed
                    task.add_done_callback(ended)
                if not taken:
                    await listener.wait(POLL_SECONDS)
            await _put_down(desk)


async def _put_down(desk: Desk) -> None:
    """Let what is under way come to its end; what is not answered in time is due again at once, for whoever comes next."""
    if desk.under_way:
        await asyncio.wait(desk.under_way, timeout=GRACE_SECONDS)
    # What is being written down is left to its end: a statement that is cut off leaves its connection behind.
    cut_off = {task: one for task, one in desk.under_way.items() if one.number in desk.unanswered}
    for task in cut_off:
        task.cancel()
    if not cut_off:
        return
    try:
        async with asyncio.timeout(DATABASE_SECONDS), desk.plant.database.writing() as work:
            await store.give_back(work, cut_off.values())
    except (DatabaseUnavailable, TimeoutError) as refusal:
        log.warning("deliveries not given back", reason=str(refusal))


@asynccontextmanager
async def running(plant: Resources) -> AsyncIterator[None]:
    """Send while the application lives. Raises CannotNotify where the operator's services are not usable."""
    settings = plant.settings
    policy = Policy(tuple(settings.webhook_allowed_networks), settings.webhook_allow_http)
    services = Services([url.get_secret_value() for url in settings.notify_urls], settings.notify_events or ["*"])
    desk = Desk(plant, Sender(policy, settings.custom_ca_path, settings.webhook_timeout_seconds), services)
    is_over = asyncio.Event()
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(_serve(desk, is_over), name="deliveries")
            try:
                yield
            finally:
                is_over.set()
                plant.signals.deliver(DELIVERIES)
    finally:
        desk.sender.close()
