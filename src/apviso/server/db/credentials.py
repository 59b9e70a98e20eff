"""Finds who a token belongs to. Comparing the secret and judging the answer is `access`'s."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import and_, case, delete, or_, select, update

from apviso.protocol.states import Scope
from apviso.protocol.wire import JobId, OrganizationId, RunnerId
from apviso.server.db.engine import Work
from apviso.server.db.schema import ApiKeyRow, AttemptRow, RunnerRow, RunnerTokenRow, ScanRow

# Long enough to hear the answer to a finish that was lost, and to be told that a lease is gone.
JOB_TOKEN_KEPT = timedelta(hours=24)


@dataclass(frozen=True)
class KnownKey:
    id: str
    organization_id: OrganizationId
    prefix: str
    digest: str = field(repr=False)
    scopes: frozenset[Scope] = frozenset()
    last_used_at: datetime | None = None
    expires_at: datetime | None = None

    def is_in_time(self, now: datetime) -> bool:
        return self.expires_at is None or self.expires_at > now


@dataclass(frozen=True)
class KnownRunner:
    """A runner behind a token. `job_id` is set where the token is a job's, which opens that job alone."""

    id: RunnerId
    organization_id: OrganizationId
    name: str
    digest: str = field(repr=False)
    revoked_at: datetime | None
    retired_at: datetime | None
    last_contact_at: datetime | None
    first_used_at: datetime | None
    goodbye_at: datetime | None
    job_id: JobId | None = None


async def find_api_key(work: Work, prefix: str) -> KnownKey | None:
    """A key that is neither revoked nor expired."""
    row = (
        await work.db.execute(
            select(ApiKeyRow.__table__)
            .where(ApiKeyRow.prefix == prefix, ApiKeyRow.revoked_at.is_(None))
            .where(or_(ApiKeyRow.expires_at.is_(None), ApiKeyRow.expires_at > work.now))
        )
    ).one_or_none()
    if row is None:
        return None
    scopes = frozenset(map(Scope, row.scopes))
    return KnownKey(row.id, row.organization_id, row.prefix, row.secret_sha256, scopes, row.last_used_at, row.expires_at)


async def touch_api_key(work: Work, key_id: str) -> None:
    await work.db.execute(update(ApiKeyRow).where(ApiKeyRow.id == key_id).values(last_used_at=work.now))


async def find_runner(work: Work, prefix: str) -> KnownRunner | None:
    """The runner of a runner token that has not run out; a revoked one is found too, so that it can be told."""
    token = RunnerTokenRow
    row = (
        await work.db.execute(
            select(
                RunnerRow.id,
                RunnerRow.organization_id,
                RunnerRow.name,
                RunnerRow.revoked_at,
                RunnerRow.retired_at,
                RunnerRow.last_contact_at,
                RunnerRow.goodbye_at,
                token.secret_sha256,
                token.first_used_at,
            )
            .join(token, token.runner_id == RunnerRow.id)
            .where(token.prefix == prefix)
            .where(or_(token.valid_until.is_(None), token.valid_until > work.now, RunnerRow.revoked_at.is_not(None)))
        )
    ).one_or_none()
    if row is None:
        return None
    return _known(row, row.secret_sha256, row.first_used_at)


def _known(row: Any, digest: str, first_used_at: datetime | None, job_id: JobId | None = None) -> KnownRunner:
    return KnownRunner(
        id=row.id,
        organization_id=row.organization_id,
        name=row.name,
        digest=digest,
        revoked_at=row.revoked_at,
        retired_at=row.retired_at,
        last_contact_at=row.last_contact_at,
        first_used_at=first_used_at,
        goodbye_at=row.goodbye_at,
        job_id=job_id,
    )


async def find_job_holder(work: Work, prefix: str) -> KnownRunner | None:
    """The runner behind a job token. After the attempt's end it still opens that job's calls, which then tell that the lease is lost."""
    row = (
        await work.db.execute(
            select(
                RunnerRow.id,
                RunnerRow.organization_id,
                RunnerRow.name,
                RunnerRow.revoked_at,
                RunnerRow.retired_at,
                RunnerRow.last_contact_at,
                RunnerRow.goodbye_at,
                AttemptRow.job_token_sha256,
                AttemptRow.assigned_at,
                ScanRow.job_id,
            )
            .join(AttemptRow, AttemptRow.runner_id == RunnerRow.id)
            .join(ScanRow, ScanRow.id == AttemptRow.scan_id)
            .where(AttemptRow.job_token_prefix == prefix)
            .where(or_(AttemptRow.ended_at.is_(None), AttemptRow.ended_at > work.now - JOB_TOKEN_KEPT))
        )
    ).one_or_none()
    if row is None:
        return None
    return _known(row, row.job_token_sha256, row.assigned_at, row.job_id)


async def record_contact(work: Work, organization_id: OrganizationId, runner_id: RunnerId) -> None:
    """Any authenticated daemon call is contact."""
    await work.db.execute(update(RunnerRow).where(RunnerRow.id == runner_id).values(last_contact_at=work.now, goodbye_at=None))
    work.touched.add((organization_id, runner_id))


async def record_first_use(work: Work, runner_id: RunnerId, prefix: str) -> None:
    """The token is in use now. It answers a request for rotation only if it was made after that."""
    used = RunnerTokenRow.prefix == prefix, RunnerTokenRow.runner_id == runner_id
    await work.db.execute(update(RunnerTokenRow).where(*used).values(first_used_at=work.now))
    made_at = select(RunnerTokenRow.created_at).where(*used).scalar_subquery()
    still_wanted = case((RunnerRow.rotate_requested_at > made_at, RunnerRow.rotate_requested_at), else_=None)
    await work.db.execute(update(RunnerRow).where(RunnerRow.id == runner_id).values(token_prefix=prefix, rotate_requested_at=still_wanted))


async def drop_older_tokens(work: Work, runner_id: RunnerId, in_use: str) -> None:
    """The first use of a new token ends every other one that is in its overlap."""
    await work.db.execute(
        delete(RunnerTokenRow).where(
            and_(RunnerTokenRow.runner_id == runner_id, RunnerTokenRow.prefix != in_use, RunnerTokenRow.valid_until.is_not(None))
        )
    )
