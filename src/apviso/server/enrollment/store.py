"""All SQL of enrollment tokens."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Select, func, insert, select, update

from apviso.protocol.runners import EnrollmentToken, NewEnrollmentToken, TokenOutcome
from apviso.protocol.tokens import Token
from apviso.protocol.wire import OrganizationId, RunnerId
from apviso.server.db.engine import Work
from apviso.server.db.schema import EnrollmentTokenRow
from apviso.server.enrollment.exchange import KnownEnrollment, status_at
from apviso.server.paging import Page


async def add(work: Work, organization_id: OrganizationId, token: Token, wanted: NewEnrollmentToken, expires_at: datetime) -> None:
    await work.db.execute(
        insert(EnrollmentTokenRow).values(
            prefix=token.prefix,
            organization_id=organization_id,
            secret_sha256=token.digest(),
            name=wanted.name,
            labels=wanted.labels,
            ephemeral=wanted.ephemeral,
            created_at=work.now,
            expires_at=expires_at,
        )
    )


def _outstanding(work: Work, organization_id: OrganizationId) -> Select[str, str | None, list[str], bool, datetime, datetime]:
    row = EnrollmentTokenRow
    return select(row.prefix.label("token_prefix"), row.name, row.labels, row.ephemeral, row.created_at, row.expires_at).where(
        row.organization_id == organization_id, row.used_at.is_(None), row.revoked_at.is_(None), row.expires_at > work.now
    )


async def find_outstanding(work: Work, organization_id: OrganizationId, prefix: str) -> EnrollmentToken | None:
    """A token that could still be used."""
    found = await work.db.execute(_outstanding(work, organization_id).where(EnrollmentTokenRow.prefix == prefix))
    row = found.mappings().one_or_none()
    return None if row is None else EnrollmentToken.model_validate(dict(row))


async def find_outcome(work: Work, organization_id: OrganizationId, prefix: str) -> TokenOutcome | None:
    """What has become of a token."""
    found = await work.db.execute(
        select(EnrollmentTokenRow.__table__).where(
            EnrollmentTokenRow.organization_id == organization_id, EnrollmentTokenRow.prefix == prefix
        )
    )
    row = found.one_or_none()
    if row is None:
        return None
    status, ended_at = status_at(row.used_at, row.revoked_at, row.expires_at, work.now)
    return TokenOutcome(
        token_prefix=row.prefix,
        name=row.name,
        labels=row.labels,
        ephemeral=row.ephemeral,
        status=status,
        created_at=row.created_at,
        expires_at=row.expires_at,
        ended_at=ended_at,
        runner_id=row.runner_id,
    )


async def list_outstanding(work: Work, organization_id: OrganizationId, page: Page) -> tuple[list[EnrollmentToken], int]:
    """Tokens that could still be used, newest first, and how many there are."""
    outstanding = _outstanding(work, organization_id)
    total = await work.db.scalar(select(func.count()).select_from(outstanding.subquery()))
    newest_first = outstanding.order_by(EnrollmentTokenRow.created_at.desc(), EnrollmentTokenRow.prefix)
    rows = await work.db.execute(newest_first.offset(page.offset).limit(page.limit))
    return [EnrollmentToken.model_validate(dict(found)) for found in rows.mappings()], total or 0


async def revoke(work: Work, organization_id: OrganizationId, prefix: str) -> bool:
    """Withdraw a token that was not used."""
    row = EnrollmentTokenRow
    won = await work.db.execute(
        update(row)
        .where(row.organization_id == organization_id, row.prefix == prefix, row.used_at.is_(None), row.revoked_at.is_(None))
        .values(revoked_at=work.now)
    )
    return won.rowcount == 1


async def find(work: Work, prefix: str) -> KnownEnrollment | None:
    """The token with this prefix, kept from other exchanges until this one is decided."""
    found = await work.db.execute(
        select(EnrollmentTokenRow.__table__).where(EnrollmentTokenRow.prefix == prefix).with_for_update(key_share=True)
    )
    row = found.one_or_none()
    if row is None:
        return None
    return KnownEnrollment(
        prefix=row.prefix,
        organization_id=row.organization_id,
        digest=row.secret_sha256,
        name=row.name,
        labels=row.labels,
        ephemeral=row.ephemeral,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
        used_at=row.used_at,
        exchange_key_sha256=row.exchange_key_sha256,
        runner_id=row.runner_id,
    )


async def consume(work: Work, prefix: str, runner_id: RunnerId, exchange_key_sha256: str | None) -> bool:
    """Use the token up for `runner_id`; False when somebody was faster."""
    row = EnrollmentTokenRow
    won = await work.db.execute(
        update(row)
        .where(row.prefix == prefix, row.used_at.is_(None), row.revoked_at.is_(None))
        .values(used_at=work.now, runner_id=runner_id, exchange_key_sha256=exchange_key_sha256)
    )
    return won.rowcount == 1
