"""Statements of the kept answers to creates that carried an Idempotency-Key."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Select, delete, select, update
from sqlalchemy.dialects import postgresql, sqlite

from apviso.protocol.wire import OrganizationId
from apviso.server.db.engine import Work
from apviso.server.db.schema import IdempotencyRow


async def reserve(work: Work, organization_id: OrganizationId, key: str, request_sha256: str) -> bool:
    """Take the key for this request; False when it is taken already."""
    insert = postgresql.insert if work.db.dialect.name == "postgresql" else sqlite.insert
    won = await work.db.execute(
        insert(IdempotencyRow)
        .values(organization_id=organization_id, key=key, request_sha256=request_sha256, created_at=work.now)
        .on_conflict_do_nothing()
    )
    return won.rowcount == 1


async def find(work: Work, organization_id: OrganizationId, key: str) -> tuple[str, str | None]:
    """The digest of the request that took the key, and its answer (None where it held a secret)."""
    row = (
        await work.db.execute(
            select(IdempotencyRow.request_sha256, IdempotencyRow.answer).where(
                IdempotencyRow.organization_id == organization_id, IdempotencyRow.key == key
            )
        )
    ).one()
    return row.request_sha256, row.answer


async def keep(work: Work, organization_id: OrganizationId, key: str, answer: str) -> None:
    await work.db.execute(
        update(IdempotencyRow).where(IdempotencyRow.organization_id == organization_id, IdempotencyRow.key == key).values(answer=answer)
    )


def older_than(moment: datetime) -> Select[Any]:
    return select(IdempotencyRow.key).where(IdempotencyRow.created_at < moment)


async def forget_before(work: Work, moment: datetime) -> None:
    await work.db.execute(delete(IdempotencyRow).where(IdempotencyRow.created_at < moment))
