"""All SQL of organizations and their API keys."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import uuid_utils
from sqlalchemy import ColumnElement, Select, bindparam, func, insert, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite

from apviso.protocol.access import ApiKey
from apviso.protocol.states import Scope
from apviso.protocol.tokens import Token
from apviso.protocol.wire import OrganizationId
from apviso.server.db.engine import Work
from apviso.server.db.schema import ApiKeyRow, OrganizationRow
from apviso.server.errors import ApiKeyNotFound
from apviso.server.paging import Page
from apviso.server.signals import ACCESS


@dataclass(frozen=True)
class Organization:
    """Who owns targets, runners and scans. `requires_verification`: control of what the Internet can name must be proved first."""

    id: OrganizationId
    name: str
    requires_verification: bool


EXPIRING_AT_ONCE = 200
_COLUMNS = (OrganizationRow.id, OrganizationRow.name, OrganizationRow.requires_verification)
_LOCKED = select(*_COLUMNS).where(OrganizationRow.id == bindparam("of")).with_for_update(key_share=True)


async def get(work: Work, organization_id: OrganizationId) -> Organization:
    """The organization of a caller: it exists, because its key does."""
    row = (await work.db.execute(select(*_COLUMNS).where(OrganizationRow.id == organization_id))).one()
    return Organization(row.id, row.name, row.requires_verification)


async def lock(work: Work, organization_id: OrganizationId) -> Organization:
    """Keep two changes from counting against the same limit at the same time."""
    row = (await work.db.execute(_LOCKED, {"of": organization_id})).one()
    return Organization(row.id, row.name, row.requires_verification)


async def find_by_name(work: Work, name: str) -> Organization | None:
    row = (await work.db.execute(select(*_COLUMNS).where(OrganizationRow.name == name))).one_or_none()
    return None if row is None else Organization(row.id, row.name, row.requires_verification)


async def list_organizations(work: Work) -> list[Organization]:
    """All of them, oldest first; for the operator of the host alone."""
    rows = await work.db.execute(select(*_COLUMNS).order_by(OrganizationRow.id))
    return [Organization(row.id, row.name, row.requires_verification) for row in rows]


async def create(work: Work, name: str) -> bool:
    """Add an organization; False where the name is taken."""
    upsert = postgresql.insert if work.db.dialect.name == "postgresql" else sqlite.insert
    won = await work.db.execute(
        upsert(OrganizationRow)
        .values(id=str(uuid_utils.uuid7()), name=name, requires_verification=True, created_at=work.now)
        .on_conflict_do_nothing()
    )
    return won.rowcount == 1


async def set_requires_verification(work: Work, organization_id: OrganizationId, required: bool) -> bool:
    """Switch the proof of control on or off; False where it stood so already."""
    row = OrganizationRow
    won = await work.db.execute(
        update(row).where(row.id == organization_id, row.requires_verification.is_not(required)).values(requires_verification=required)
    )
    return won.rowcount == 1


async def told_readiness(work: Work, organization_id: OrganizationId) -> str | None:
    """What the live stream was last told of the readiness; None before the first look."""
    told = await work.db.scalar(select(OrganizationRow.told_readiness).where(OrganizationRow.id == organization_id))
    return None if told is None else str(told)


async def tell_readiness(work: Work, organization_id: OrganizationId, told: str) -> None:
    await work.db.execute(update(OrganizationRow).where(OrganizationRow.id == organization_id).values(told_readiness=told))


def _mine(organization_id: OrganizationId) -> list[ColumnElement[bool]]:
    return [ApiKeyRow.organization_id == organization_id, ApiKeyRow.revoked_at.is_(None)]


def _key(row: Mapping[Any, Any]) -> ApiKey:
    return ApiKey.model_validate({**row, "key_prefix": row["prefix"]})


async def add_key(
    work: Work, organization_id: OrganizationId, token: Token, name: str, scopes: list[Scope], expires_at: datetime | None
) -> ApiKey:
    """Keep the digest of a new key."""
    key_id = str(uuid_utils.uuid7())
    await work.db.execute(
        insert(ApiKeyRow).values(
            id=key_id,
            organization_id=organization_id,
            prefix=token.prefix,
            secret_sha256=token.digest(),
            name=name,
            scopes=scopes,
            created_at=work.now,
            expires_at=expires_at,
        )
    )
    return await get_key(work, organization_id, key_id)


async def get_key(work: Work, organization_id: OrganizationId, key_id: str) -> ApiKey:
    """A key that is not revoked. Raises ApiKeyNotFound, also for another organization's."""
    rows = await work.db.execute(select(ApiKeyRow.__table__).where(*_mine(organization_id), ApiKeyRow.id == key_id))
    row = rows.mappings().one_or_none()
    if row is None:
        raise ApiKeyNotFound
    return _key(row)


async def list_keys(work: Work, organization_id: OrganizationId, page: Page) -> tuple[list[ApiKey], int]:
    """Keys that are not revoked, newest first, and how many there are."""
    mine = _mine(organization_id)
    total = await work.db.scalar(select(func.count()).select_from(ApiKeyRow).where(*mine))
    rows = await work.db.execute(
        select(ApiKeyRow.__table__)
        .where(*mine)
        .order_by(ApiKeyRow.created_at.desc(), ApiKeyRow.id.desc())
        .offset(page.offset)
        .limit(page.limit)
    )
    return [_key(row) for row in rows.mappings()], total or 0


async def list_scopes(work: Work, organization_id: OrganizationId) -> dict[str, frozenset[Scope]]:
    """What each key that works now may do, by key id."""
    in_time = or_(ApiKeyRow.expires_at.is_(None), ApiKeyRow.expires_at > work.now)
    rows = await work.db.execute(select(ApiKeyRow.id, ApiKeyRow.scopes).where(*_mine(organization_id), in_time))
    return {row.id: frozenset(map(Scope, row.scopes)) for row in rows}


async def edit_key(work: Work, organization_id: OrganizationId, key_id: str, **values: Any) -> None:
    await work.db.execute(update(ApiKeyRow).where(*_mine(organization_id), ApiKeyRow.id == key_id).values(**values))
    work.hints.add(ACCESS)


async def revoke_key(work: Work, organization_id: OrganizationId, key_id: str) -> bool:
    """End a key at once; False where it was revoked before."""
    won = await work.db.execute(update(ApiKeyRow).where(*_mine(organization_id), ApiKeyRow.id == key_id).values(revoked_at=work.now))
    work.hints.add(ACCESS)
    return won.rowcount == 1


def expiring(now: datetime, before: datetime) -> Select[Any]:
    """Keys of all organizations that end before then, and of which that was not told yet."""
    row = ApiKeyRow
    is_soon = (row.expires_at <= before, row.expires_at > now)
    return select(row.__table__).where(*is_soon, row.expiry_told_at.is_(None), row.revoked_at.is_(None))


async def list_expiring(work: Work, before: datetime) -> list[tuple[OrganizationId, ApiKey]]:
    """Some at a time."""
    rows = await work.db.execute(expiring(work.now, before).order_by(ApiKeyRow.id).limit(EXPIRING_AT_ONCE))
    return [(OrganizationId(found["organization_id"]), _key(found)) for found in rows.mappings()]


async def note_expiry_told(work: Work, key_ids: Collection[str]) -> None:
    await work.db.execute(update(ApiKeyRow).where(ApiKeyRow.id.in_(key_ids)).values(expiry_told_at=work.now))


async def has_key(work: Work, organization_id: OrganizationId, key_id: str) -> bool:
    """Whether the organization ever had this key, revoked or not."""
    found = select(ApiKeyRow.id).where(ApiKeyRow.organization_id == organization_id, ApiKeyRow.id == key_id)
    return await work.db.scalar(found) is not None
