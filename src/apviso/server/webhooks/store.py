"""All SQL of webhooks: who wants what, the queue, and the log."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Annotated, Any

import uuid_utils
from pydantic import Field, TypeAdapter
from sqlalchemy import ColumnElement, Select, and_, delete, exists, false, func, insert, not_, or_, select, update
from sqlalchemy.orm import aliased

from apviso.protocol.webhooks import Delivery, DeliveryStatus
from apviso.protocol.wire import OrganizationId
from apviso.server.db.engine import Work
from apviso.server.db.schema import DeliveryRow, OrganizationRow, StreamRow, WebhookRow
from apviso.server.errors import WebhookDeliveryNotFound, WebhookNotFound
from apviso.server.paging import Page, cursor_at, place_of
from apviso.server.webhooks.facts import Claimed, Endpoint, Kind, Known, Message, Sealed
from apviso.server.webhooks.flapping import Told
from apviso.server.webhooks.records import delivery_of, endpoint_of, kept, known_of, sealed_of

# How many are looked at for each that can be sent: some are of receivers that are busy.
OVERSIGHT = 8
FORGOTTEN_AT_ONCE = 2_000
_OPEN = DeliveryRow.status.in_((DeliveryStatus.PENDING, DeliveryStatus.HELD))


def _mine(organization_id: OrganizationId) -> list[ColumnElement[bool]]:
    return [WebhookRow.organization_id == organization_id, WebhookRow.kind == Kind.WEBHOOK]


# ---- webhooks


async def count(work: Work, organization_id: OrganizationId) -> int:
    return await work.db.scalar(select(func.count()).select_from(WebhookRow).where(*_mine(organization_id))) or 0


async def add(work: Work, organization_id: OrganizationId, seen: int, secret: Sealed, **values: Any) -> str:
    """A webhook that is told what comes after `seen`; its id."""
    webhook_id = str(uuid_utils.uuid7())
    await work.db.execute(
        insert(WebhookRow).values(
            id=webhook_id,
            organization_id=organization_id,
            kind=Kind.WEBHOOK,
            secrets=kept([secret]),
            seen=seen,
            created_at=work.now,
            **values,
        )
    )
    return webhook_id


async def get(work: Work, organization_id: OrganizationId, webhook_id: str, *, for_change: bool = False) -> Known:
    """Raises WebhookNotFound, also for another organization's. `for_change` keeps it as it is until the transaction ends."""
    chosen = select(WebhookRow.__table__).where(*_mine(organization_id), WebhookRow.id == webhook_id)
    row = (await work.db.execute(chosen.with_for_update(key_share=True) if for_change else chosen)).one_or_none()
    if row is None:
        raise WebhookNotFound
    return known_of(row, work.now)


async def list_page(work: Work, organization_id: OrganizationId, page: Page) -> tuple[list[Known], int]:
    """Oldest first, and how many there are."""
    rows = await work.db.execute(
        select(WebhookRow.__table__)
        .where(*_mine(organization_id))
        .order_by(WebhookRow.created_at, WebhookRow.id)
        .offset(page.offset)
        .limit(page.limit)
    )
    return [known_of(row, work.now) for row in rows], await count(work, organization_id)


async def edit(work: Work, webhook_id: str, **values: Any) -> None:
    await work.db.execute(update(WebhookRow).where(WebhookRow.id == webhook_id).values(**values))


async def replace_secrets(work: Work, webhook_id: str, secrets: Sequence[Sealed]) -> None:
    await edit(work, webhook_id, secrets=kept(secrets))


async def disable(work: Work, webhook_id: str, reason: str) -> bool:
    """Stop it; False where it was stopped before."""
    won = await work.db.execute(
        update(WebhookRow)
        .where(WebhookRow.id == webhook_id, WebhookRow.enabled, WebhookRow.kind == Kind.WEBHOOK)
        .values(enabled=False, disabled_reason=reason)
    )
    return won.rowcount == 1


async def close_open(work: Work, webhook_id: str, reason: str) -> None:
    """Give up what is in the queue; the log keeps it."""
    await work.db.execute(
        update(DeliveryRow)
        .where(DeliveryRow.webhook_id == webhook_id, _OPEN)
        .values(status=DeliveryStatus.FAILED, error=reason, finished_at=work.now, next_attempt_at=None)
    )


async def remove(work: Work, webhook_ids: Collection[str]) -> None:
    """With all that was sent and is to be sent."""
    await work.db.execute(delete(DeliveryRow).where(DeliveryRow.webhook_id.in_(webhook_ids)))
    await work.db.execute(delete(WebhookRow).where(WebhookRow.id.in_(webhook_ids)))


# ---- services of the operator


def services_but(addresses: Collection[str]) -> Select[Any]:
    """Services of the operator that have another address than these, in all organizations."""
    return select(WebhookRow.id).where(WebhookRow.kind == Kind.NOTIFY, WebhookRow.url.not_in(addresses))


async def list_services_but(work: Work, addresses: Collection[str]) -> list[str]:
    """Their ids, some at a time."""
    return list((await work.db.execute(services_but(addresses).limit(FORGOTTEN_AT_ONCE))).scalars())


def _is_untold(address: str) -> ColumnElement[bool]:
    is_told = exists().where(WebhookRow.organization_id == OrganizationRow.id, WebhookRow.kind == Kind.NOTIFY, WebhookRow.url == address)
    return not_(is_told)


def untold(address: str) -> Select[Any]:
    """Organizations that a service of the operator is not told of yet."""
    return select(OrganizationRow.id).where(_is_untold(address))


async def add_service_everywhere(work: Work, address: str, events: Sequence[str]) -> None:
    """Tell a service of each organization that it is not told of yet, from now on."""
    newest = select(func.coalesce(func.max(StreamRow.id), 0)).where(StreamRow.organization_id == OrganizationRow.id).scalar_subquery()
    missing = (await work.db.execute(select(OrganizationRow.id, newest.label("seen")).where(_is_untold(address)))).all()
    common = {"kind": Kind.NOTIFY, "url": address, "events": list(events), "enabled": True, "secrets": [], "created_at": work.now}
    if missing:
        rows = [{"id": str(uuid_utils.uuid7()), "organization_id": row.id, "seen": row.seen, **common} for row in missing]
        await work.db.execute(insert(WebhookRow), rows)


# ---- from the live stream into the queue


def behind() -> Select[Any]:
    """Webhooks for which the live stream has something that they have not been told."""
    # One look into the index for each webhook, which no plan turns into a walk through the streams.
    newest = select(func.max(StreamRow.id)).where(StreamRow.organization_id == WebhookRow.organization_id).scalar_subquery()
    return select(WebhookRow.id).where(WebhookRow.enabled, newest > WebhookRow.seen)


async def list_behind(work: Work, limit: int) -> list[str]:
    """Those of one organization together."""
    return list((await work.db.execute(behind().order_by(WebhookRow.organization_id, WebhookRow.id).limit(limit))).scalars())


async def list_endpoints_locked(work: Work, webhook_ids: Collection[str]) -> list[Endpoint]:
    """Those that are enabled still; nobody changes them until the transaction ends."""
    rows = await work.db.execute(
        select(WebhookRow.__table__)
        .where(WebhookRow.id.in_(webhook_ids), WebhookRow.enabled)
        .order_by(WebhookRow.id)
        .with_for_update(key_share=True)
    )
    return [endpoint_of(row) for row in rows]


async def count_open(work: Work, webhook_ids: Collection[str]) -> dict[str, int]:
    """How many messages wait for each."""
    rows = await work.db.execute(
        select(DeliveryRow.webhook_id, func.count().label("number"))
        .where(DeliveryRow.webhook_id.in_(webhook_ids), _OPEN)
        .group_by(DeliveryRow.webhook_id)
    )
    return {row.webhook_id: row.number for row in rows}


async def list_told(work: Work, webhook_id: str, subjects: Collection[str], since: datetime) -> dict[str, list[Told]]:
    """Changes of status that were told, or are about to be, by what they are about, oldest first."""
    rows = await work.db.execute(
        select(DeliveryRow.subject, DeliveryRow.event, DeliveryRow.told_at, DeliveryRow.status)
        .where(
            DeliveryRow.webhook_id == webhook_id,
            DeliveryRow.subject.in_(subjects),
            DeliveryRow.told_at >= since,
            DeliveryRow.is_transition,
            DeliveryRow.status != DeliveryStatus.COLLAPSED,
        )
        .order_by(DeliveryRow.number)
    )
    found: dict[str, list[Told]] = {}
    for row in rows:
        found.setdefault(row.subject, []).append(Told(row.event, row.told_at, row.status == DeliveryStatus.HELD))
    return found


async def collapse_held(work: Work, webhook_id: str, subject: str) -> None:
    """Something newer is known of the subject than what was held back."""
    await work.db.execute(
        update(DeliveryRow)
        .where(DeliveryRow.webhook_id == webhook_id, DeliveryRow.subject == subject, DeliveryRow.status == DeliveryStatus.HELD)
        .values(status=DeliveryStatus.COLLAPSED, finished_at=work.now, next_attempt_at=None)
    )


async def enqueue(work: Work, webhook_id: str, messages: Iterable[Message]) -> list[str]:
    """Put messages into the queue in this order; their ids."""
    rows = [
        {
            "id": str(uuid_utils.uuid7()),
            "webhook_id": webhook_id,
            "event": message.event,
            "subject": message.subject[:80],
            "event_at": message.at,
            "told_at": message.told_at,
            "body": message.body,
            "is_transition": message.is_transition,
            "is_ordered": message.is_ordered,
            "status": DeliveryStatus.HELD if message.told_at > message.at else DeliveryStatus.PENDING,
            "attempts": 0,
            "next_attempt_at": max(message.told_at, work.now),
        }
        for message in messages
    ]
    if rows:
        await work.db.execute(insert(DeliveryRow), rows)
    return [str(row["id"]) for row in rows]


async def advance(work: Work, webhook_id: str, seen: int) -> None:
    await edit(work, webhook_id, seen=seen)


# ---- from the queue to the receivers


def due(now: datetime) -> Select[Any]:
    """Messages that are to be sent."""
    return select(DeliveryRow.number).where(_OPEN, DeliveryRow.next_attempt_at <= now)


async def has_due(work: Work) -> bool:
    return await work.db.scalar(due(work.now).limit(1)) is not None


async def list_due(work: Work, busy: Collection[str], limit: int) -> list[tuple[int, str]]:
    """Number and webhook of messages that may be sent now: of each subject the first, and none of the webhooks in `busy`."""
    earlier = aliased(DeliveryRow)
    comes_later = exists().where(
        earlier.webhook_id == DeliveryRow.webhook_id,
        earlier.subject == DeliveryRow.subject,
        earlier.number < DeliveryRow.number,
        earlier.is_ordered,
        earlier.status.in_((DeliveryStatus.PENDING, DeliveryStatus.HELD)),
    )
    rows = await work.db.execute(
        select(DeliveryRow.number, DeliveryRow.webhook_id)
        .where(
            _OPEN,
            DeliveryRow.next_attempt_at <= work.now,
            DeliveryRow.webhook_id.not_in(busy),
            or_(DeliveryRow.is_ordered == false(), not_(comes_later)),
        )
        .order_by(DeliveryRow.next_attempt_at, DeliveryRow.number)
        .limit(limit * OVERSIGHT)
    )
    return [(row.number, row.webhook_id) for row in rows]


async def claim(work: Work, numbers: Collection[int], lease: timedelta) -> list[Claimed]:
    """Take those of these messages that nobody else has taken; after the lease another process may."""
    won = await work.db.execute(
        update(DeliveryRow)
        .where(DeliveryRow.number.in_(numbers), _OPEN, DeliveryRow.next_attempt_at <= work.now)
        .values(
            status=DeliveryStatus.PENDING,
            attempts=DeliveryRow.attempts + 1,
            next_attempt_at=work.now + lease,
            last_attempt_at=work.now,
            error=None,
        )
        .returning(DeliveryRow.number)
    )
    rows = await work.db.execute(
        select(DeliveryRow.__table__, WebhookRow.organization_id, WebhookRow.kind, WebhookRow.url, WebhookRow.secrets)
        .add_columns(WebhookRow.failing_since)
        .join(WebhookRow, WebhookRow.id == DeliveryRow.webhook_id)
        .where(DeliveryRow.number.in_(list(won.scalars())))
        .order_by(DeliveryRow.number)
    )
    return [
        Claimed(
            number=row.number,
            message_id=f"msg_{row.id}",
            webhook_id=row.webhook_id,
            organization_id=row.organization_id,
            kind=Kind(row.kind),
            url=row.url,
            secrets=sealed_of(row.secrets),
            event=row.event,
            body=row.body,
            attempt=row.attempts,
            failing_since=row.failing_since,
        )
        for row in rows
    ]


async def settle(work: Work, claimed: Claimed, status: DeliveryStatus, **values: Any) -> bool:
    """Write down how an attempt went, unless another process has taken the message over."""
    row = DeliveryRow
    if status is not DeliveryStatus.PENDING:
        values |= {"finished_at": work.now, "next_attempt_at": None}
    won = await work.db.execute(
        update(row).where(row.number == claimed.number, row.attempts == claimed.attempt, _OPEN).values(status=status, **values)
    )
    return won.rowcount == 1


async def give_back(work: Work, claimed: Collection[Claimed]) -> None:
    """What was not sent to its end is due again at once."""
    row = DeliveryRow
    mine = [and_(row.number == one.number, row.attempts == one.attempt) for one in claimed]
    await work.db.execute(update(row).where(_OPEN, or_(false(), *mine)).values(next_attempt_at=work.now))


async def note_failing(work: Work, webhook_id: str) -> None:
    await work.db.execute(
        update(WebhookRow).where(WebhookRow.id == webhook_id, WebhookRow.failing_since.is_(None)).values(failing_since=work.now)
    )


async def note_well(work: Work, webhook_id: str) -> None:
    await work.db.execute(
        update(WebhookRow).where(WebhookRow.id == webhook_id, WebhookRow.failing_since.is_not(None)).values(failing_since=None)
    )


# ---- the log


_PLACE = TypeAdapter(tuple[Annotated[int, Field(ge=0, le=2**63 - 1)]])


async def list_log(work: Work, webhook_id: str, status: DeliveryStatus | None, page: Page) -> tuple[list[Delivery], int, str | None]:
    """Newest first, how many there are, and where the list goes on."""
    wanted = [DeliveryRow.webhook_id == webhook_id]
    if status is not None:
        wanted.append(DeliveryRow.status == status)
    total = await work.db.scalar(select(func.count()).select_from(DeliveryRow).where(*wanted))
    if page.cursor is not None:
        wanted.append(DeliveryRow.number < place_of(page.cursor, _PLACE)[0])
    rows = await work.db.execute(
        select(DeliveryRow.__table__).where(*wanted).order_by(DeliveryRow.number.desc()).offset(page.offset).limit(page.fetched)
    )
    shown, after = page.cut(rows.all(), lambda row: cursor_at(row.number))
    return [delivery_of(row) for row in shown], total or 0, after


async def get_delivery(work: Work, webhook_id: str, delivery_id: str) -> Delivery:
    """Raises WebhookDeliveryNotFound."""
    chosen = select(DeliveryRow.__table__).where(DeliveryRow.webhook_id == webhook_id, DeliveryRow.id == delivery_id)
    row = (await work.db.execute(chosen)).one_or_none()
    if row is None:
        raise WebhookDeliveryNotFound
    return delivery_of(row)


async def send_again(work: Work, webhook_id: str, delivery_id: str) -> None:
    """Put a message that is finished into the queue once more, past those that wait; one that waits is due now."""
    row = DeliveryRow
    mine = [row.webhook_id == webhook_id, row.id == delivery_id]
    # One that is being sent at this moment has no error yet, and is left alone.
    is_waiting = or_(row.attempts == 0, row.error.is_not(None))
    await work.db.execute(update(row).where(*mine, row.status == DeliveryStatus.PENDING, is_waiting).values(next_attempt_at=work.now))
    await work.db.execute(
        update(row)
        .where(*mine, not_(_OPEN))
        .values(status=DeliveryStatus.PENDING, attempts=0, next_attempt_at=work.now, is_ordered=False, finished_at=None, error=None)
    )


def finished(before: datetime) -> Select[Any]:
    """Lines of the log that are older."""
    return select(DeliveryRow.number).where(DeliveryRow.finished_at < before)


async def forget_finished(work: Work, before: datetime) -> None:
    """Drop them, some at a time."""
    await work.db.execute(delete(DeliveryRow).where(DeliveryRow.number.in_(finished(before).limit(FORGOTTEN_AT_ONCE))))
