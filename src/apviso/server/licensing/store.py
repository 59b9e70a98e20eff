"""All SQL of licenses: the installed document, and what of its limits is taken."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import bindparam, func, select
from sqlalchemy.dialects import postgresql, sqlite

from apviso.protocol.licenses import Usage
from apviso.protocol.wire import OrganizationId
from apviso.server.db.engine import Work
from apviso.server.db.schema import AttemptRow, LicenseRow, OrganizationRow, RunnerRow, TargetRow
from apviso.server.signals import ACCESS


@dataclass(frozen=True)
class Installed:
    """What is installed for an organization; no document where nothing is."""

    organization_name: str
    document: str | None


_INSTALLED = (
    select(OrganizationRow.name, LicenseRow.document)
    .outerjoin(LicenseRow, LicenseRow.organization_id == OrganizationRow.id)
    .where(OrganizationRow.id == bindparam("of"))
)
_LIVE_LEASES = select(func.count()).where(AttemptRow.organization_id == bindparam("of"), AttemptRow.ended_at.is_(None))
_INSTALLED_AND_USED = _INSTALLED.add_columns(_LIVE_LEASES.scalar_subquery().label("live_leases"))


async def installed(work: Work, organization_id: OrganizationId) -> Installed:
    row = (await work.db.execute(_INSTALLED, {"of": organization_id})).one()
    return Installed(row.name, row.document)


async def installed_and_used(work: Work, organization_id: OrganizationId) -> tuple[Installed, int]:
    """What is installed, and how many attempts have not ended."""
    row = (await work.db.execute(_INSTALLED_AND_USED, {"of": organization_id})).one()
    return Installed(row.name, row.document), row.live_leases


async def install(work: Work, organization_id: OrganizationId, document: str) -> None:
    """Put a document in force, in place of an earlier one."""
    insert = postgresql.insert if work.db.dialect.name == "postgresql" else sqlite.insert
    values = {"document": document, "installed_at": work.now}
    await work.db.execute(
        insert(LicenseRow)
        .values(organization_id=organization_id, **values)
        .on_conflict_do_update(index_elements=[LicenseRow.organization_id], set_=values)
    )
    work.hints.add(ACCESS)


async def usage(work: Work, organization_id: OrganizationId) -> Usage:
    """Runners that are not revoked, attempts that have not ended, targets."""
    runners = select(func.count()).where(RunnerRow.organization_id == organization_id, RunnerRow.revoked_at.is_(None))
    leases = select(func.count()).where(AttemptRow.organization_id == organization_id, AttemptRow.ended_at.is_(None))
    targets = select(func.count()).where(TargetRow.organization_id == organization_id)
    counted = (
        await work.db.execute(select(runners.scalar_subquery(), leases.scalar_subquery(), targets.scalar_subquery()))
    ).one()  # fmt: skip
    return Usage(runners=counted[0], concurrent_jobs=counted[1], targets=counted[2])
