"""All SQL of the live stream."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Select, delete, func, select

from apviso.protocol.wire import OrganizationId
from apviso.server.db.engine import Work
from apviso.server.db.schema import StreamRow
from apviso.server.signals import stream_topic

# One read of a stream; a client that is far behind gets several.
BATCH = 500


@dataclass(frozen=True)
class StreamEvent:
    id: int
    at: datetime
    type: str
    data: dict[str, Any]


def publish(work: Work, organization_id: OrganizationId, type_: str, **data: Any) -> None:
    """Append one event in the transaction of the change itself, at its end; readers are woken after the commit."""
    work.news.append({"organization_id": organization_id, "at": work.now, "type": type_, "data": data})
    work.hints.add(stream_topic(organization_id))


async def latest_id(work: Work, organization_id: OrganizationId) -> int:
    return await work.db.scalar(select(func.max(StreamRow.id)).where(StreamRow.organization_id == organization_id)) or 0


async def list_after(work: Work, organization_id: OrganizationId, after: int) -> Sequence[StreamEvent]:
    rows = await work.db.execute(
        select(StreamRow.id, StreamRow.at, StreamRow.type, StreamRow.data)
        .where(StreamRow.organization_id == organization_id, StreamRow.id > after)
        .order_by(StreamRow.id)
        .limit(BATCH)
    )
    return [StreamEvent(row.id, row.at, row.type, row.data) for row in rows]


def older_than(moment: datetime) -> Select[Any]:
    return select(StreamRow.id).where(StreamRow.at < moment)


async def forget_before(work: Work, moment: datetime) -> None:
    await work.db.execute(delete(StreamRow).where(StreamRow.at < moment))
