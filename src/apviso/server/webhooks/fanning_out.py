"""Puts what the live streams tell into the queues of webhooks, exactly once: queue and mark move together."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import SelectBase

from apviso.server.db.engine import Work
from apviso.server.resources import Resources, Turn
from apviso.server.signals import DELIVERIES
from apviso.server.stream import store as stream
from apviso.server.stream.store import StreamEvent
from apviso.server.webhooks import store
from apviso.server.webhooks.catalogue import TRANSITIONS, chosen, names_of, payload, subject_of
from apviso.server.webhooks.facts import Endpoint, Message
from apviso.server.webhooks.flapping import WINDOW, Told, told_when
from apviso.server.webhooks.notifying import address_of

# Webhooks in one round, and in one of its transactions; rounds in a second, so that a stream that grows fast is kept up with.
MOST_IN_A_ROUND, WEBHOOKS_AT_ONCE, MOST_ROUNDS = 1_000, 20, 20
# A queue that is longer takes nothing more; the live stream keeps what comes for a day.
LONGEST_QUEUE = 10_000
LOG_KEPT = timedelta(days=7)
# How far back a change is looked for that a receiver may still believe in.
REMEMBERED = 10 * WINDOW


def webhooks_to_tell(now: datetime, plant: Resources) -> Sequence[SelectBase]:
    wanted = _services(plant)
    return (store.services_but(wanted), *map(store.untold, sorted(wanted)), store.behind(), store.due(now))


async def fan_out(turn: Turn, plant: Resources) -> None:
    """Bring every webhook up to date with the stream of its organization, and wake those who send."""
    await _know_services(turn, plant)
    for _ in range(MOST_ROUNDS):
        if not await _move_everyone(turn, plant):
            break
    async with plant.database.reading() as work:
        is_due = await store.has_due(work)
    if is_due:
        plant.signals.send(DELIVERIES)


def log_to_forget(now: datetime, plant: Resources) -> Sequence[SelectBase]:
    return (store.finished(now - LOG_KEPT),)


async def forget_log(turn: Turn, plant: Resources) -> None:
    """Drop what is in the log for more than a week."""
    async with turn() as work:
        await store.forget_finished(work, work.now - LOG_KEPT)


def _services(plant: Resources) -> set[str]:
    """The addresses of the operator's services."""
    return {address_of(url.get_secret_value(), _notify_events(plant)) for url in plant.settings.notify_urls}


def _notify_events(plant: Resources) -> Sequence[str]:
    return plant.settings.notify_events or ["*"]


async def _know_services(turn: Turn, plant: Resources) -> None:
    """Each organization is told of to each of the operator's services, and to none that is not configured any more."""
    events, wanted = _notify_events(plant), _services(plant)
    async with plant.database.reading() as work:
        gone = await store.list_services_but(work, wanted)
    if not wanted and not gone:
        return
    async with turn() as work:
        if gone:
            await store.remove(work, gone)
        for address in sorted(wanted):
            await store.add_service_everywhere(work, address, events)


async def _move_everyone(turn: Turn, plant: Resources) -> bool:
    """Whether there may be more for one of them."""
    async with plant.database.reading() as work:
        behind = await store.list_behind(work, MOST_IN_A_ROUND)
    has_more = False
    for start in range(0, len(behind), WEBHOOKS_AT_ONCE):
        async with turn() as work:
            has_more |= await _catch_up(work, behind[start : start + WEBHOOKS_AT_ONCE])
    return has_more


async def _catch_up(work: Work, webhook_ids: Sequence[str]) -> bool:
    """Take one batch of each one's stream; whether one of the batches was full."""
    endpoints = await store.list_endpoints_locked(work, webhook_ids)
    waiting = await store.count_open(work, webhook_ids)
    # Those of one organization have mostly seen the same.
    seen: dict[tuple[str, int], Sequence[StreamEvent]] = {}
    for endpoint in endpoints:
        if waiting.get(endpoint.id, 0) >= LONGEST_QUEUE:
            continue
        mark = (endpoint.organization_id, endpoint.seen)
        if mark not in seen:
            seen[mark] = await stream.list_after(work, endpoint.organization_id, endpoint.seen)
        if seen[mark]:
            await _tell(work, endpoint, seen[mark])
            await store.advance(work, endpoint.id, seen[mark][-1].id)
    work.hints.add(DELIVERIES)
    return any(len(events) == stream.BATCH for events in seen.values())


async def _tell(work: Work, endpoint: Endpoint, events: Sequence[StreamEvent]) -> None:
    moving = {subject_of(event.type, event.data) for event in events if event.type in TRANSITIONS}
    told = await store.list_told(work, endpoint.id, moving, events[0].at - REMEMBERED) if moving else {}
    messages: list[Message] = []
    for event in events:
        subject = subject_of(event.type, event.data)
        if event.type not in TRANSITIONS:
            messages += _plain(endpoint, event, subject)
            continue
        before = told.get(subject, [])
        message = _transition(endpoint, event, subject, before)
        if any(one.is_held for one in before):
            messages = [one for one in messages if not _is_held_back(one, subject)]
            await store.collapse_held(work, endpoint.id, subject)
        told[subject] = [one for one in before if not one.is_held]
        if message is not None:
            messages.append(message)
            told[subject].append(Told(message.event, message.told_at, message.told_at > message.at))
    await store.enqueue(work, endpoint.id, messages)


def _plain(endpoint: Endpoint, event: StreamEvent, subject: str) -> list[Message]:
    names = (chosen(one, endpoint.events) for one in names_of(event.type, event.data))
    return [Message(name, subject, event.at, payload(name, event.at, event.data), event.at) for name in names if name is not None]


def _transition(endpoint: Endpoint, event: StreamEvent, subject: str, before: Sequence[Told]) -> Message | None:
    (names,) = names_of(event.type, event.data)
    name = chosen(names, endpoint.events)
    moment = None if name is None else told_when(name, event.at, before)
    if name is None or moment is None:
        return None
    return Message(name, subject, event.at, payload(name, event.at, event.data), moment, is_transition=True)


def _is_held_back(message: Message, subject: str) -> bool:
    return message.is_transition and message.subject == subject and message.told_at > message.at
