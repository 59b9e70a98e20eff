"""All SQL of targets, and how a target is shown to people and to runners."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from pydantic import JsonValue
from sqlalchemy import Select, and_, bindparam, delete, exists, func, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite

from apviso.protocol.findings import FindingCounts
from apviso.protocol.states import ACTIVE_STATUSES, UserStatus, VerificationMethod, Visibility
from apviso.protocol.targets import JobTarget, Target
from apviso.protocol.wire import OrganizationId, RunnerId, TargetId
from apviso.server.db.engine import Work
from apviso.server.db.many import one_of
from apviso.server.db.schema import FindingRow, RunnerRow, ScanRow, ScheduleRow, TargetRow
from apviso.server.errors import TargetNotFound
from apviso.server.localtime import FURTHEST_WINDOW, keep_windows, read_windows
from apviso.server.paging import Page
from apviso.server.targets.facts import KnownTarget as KnownTarget
from apviso.server.targets.proof import FRESH_FOR


def _wire(target: KnownTarget, open_findings: FindingCounts) -> Target:
    return Target(
        id=target.id,
        domain=target.domain,
        display_url=target.display_url,
        scan_url=target.scan_url,
        visibility=target.visibility,
        scan_windows=keep_windows(target.scan_windows),
        verified=target.verified_at is not None,
        verified_at=target.verified_at,
        verification_method=target.verification_method,
        verification_checked_at=target.verification_checked_at,
        verification_error=target.verification_error,
        last_scan_at=target.last_scan_at,
        open_findings=open_findings,
        created_at=target.created_at,
    )


async def show_all(work: Work, targets: Sequence[KnownTarget]) -> list[Target]:
    """As people see them, in the given order."""
    counts = await count_open(work, [target.id for target in targets])
    return [_wire(target, counts.get(target.id, FindingCounts())) for target in targets]


async def show(work: Work, target: KnownTarget) -> Target:
    return (await show_all(work, [target]))[0]


def job_target(target: KnownTarget) -> JobTarget:
    return JobTarget(
        id=target.id,
        domain=target.domain,
        display_url=target.display_url,
        scan_url=target.scan_url,
        visibility=target.visibility,
    )


def _known(row: Mapping[Any, Any]) -> KnownTarget:
    method = row["verification_method"]
    typed = {
        "visibility": Visibility(row["visibility"]),
        "verification_method": None if method is None else VerificationMethod(method),
        "scan_windows": read_windows(row["scan_windows"]),
    }
    return KnownTarget(**{**row, **typed})


# A target beside other things in one row, and how to read it there.
COLUMNS = tuple(TargetRow.__table__.columns)


def known_of(values: Sequence[Any]) -> KnownTarget:
    """From the values of COLUMNS."""
    return _known(dict(zip(_NAMES, values, strict=True)))


_NAMES = tuple(column.key for column in COLUMNS)
_SCANNED = update(TargetRow).where(one_of(TargetRow.id, "ids")).values(last_scan_at=bindparam("now", type_=TargetRow.created_at.type))


async def get(work: Work, organization_id: OrganizationId, target_id: str) -> KnownTarget:
    """One target of this organization. Raises TargetNotFound, also for another organization's."""
    rows = await work.db.execute(
        select(TargetRow.__table__).where(TargetRow.organization_id == organization_id, TargetRow.id == TargetId(target_id))
    )
    row = rows.mappings().one_or_none()
    if row is None:
        raise TargetNotFound
    return _known(row)


async def get_locked(work: Work, organization_id: OrganizationId, target_id: str) -> KnownTarget:
    """The same, kept from other changes, and from other scans being started, until this one is done."""
    rows = await work.db.execute(
        select(TargetRow.__table__)
        .where(TargetRow.organization_id == organization_id, TargetRow.id == TargetId(target_id))
        .with_for_update(key_share=True)
    )
    row = rows.mappings().one_or_none()
    if row is None:
        raise TargetNotFound
    return _known(row)


async def list_page(work: Work, organization_id: OrganizationId, page: Page) -> tuple[list[KnownTarget], int]:
    """Newest first, and how many there are in all."""
    total = await work.db.scalar(select(func.count()).where(TargetRow.organization_id == organization_id))
    rows = await work.db.execute(
        select(TargetRow.__table__)
        .where(TargetRow.organization_id == organization_id)
        .order_by(TargetRow.created_at.desc(), TargetRow.id.desc())
        .offset(page.offset)
        .limit(page.limit)
    )
    return [_known(row) for row in rows.mappings()], total or 0


async def list_of(work: Work, organization_id: OrganizationId, visibilities: frozenset[Visibility]) -> list[KnownTarget]:
    """All targets of these visibilities, by domain. Their number is bounded by the license."""
    rows = await work.db.execute(
        select(TargetRow.__table__)
        .where(TargetRow.organization_id == organization_id, TargetRow.visibility.in_(visibilities))
        .order_by(TargetRow.domain)
    )
    return [_known(row) for row in rows.mappings()]


async def add(work: Work, target: KnownTarget) -> bool:
    """Keep a new target; False where the organization has one of this domain."""
    insert = postgresql.insert if work.db.dialect.name == "postgresql" else sqlite.insert
    won = await work.db.execute(
        insert(TargetRow)
        .values(**{**vars(target), "scan_windows": keep_windows(target.scan_windows)})
        .on_conflict_do_nothing(index_elements=[TargetRow.organization_id, TargetRow.domain])
    )
    return won.rowcount == 1


async def edit(work: Work, organization_id: OrganizationId, target_id: TargetId, **values: Any) -> None:
    await work.db.execute(update(TargetRow).where(TargetRow.organization_id == organization_id, TargetRow.id == target_id).values(**values))


async def give_token(work: Work, organization_id: OrganizationId, target_id: TargetId, token: str) -> None:
    """What is to be published as a proof of control; one that was given before stays."""
    mine = (TargetRow.organization_id == organization_id, TargetRow.id == target_id, TargetRow.verification_token.is_(None))
    await work.db.execute(update(TargetRow).where(*mine).values(verification_token=token))


async def keep_look(work: Work, seen: KnownTarget, *, is_proved: bool, **values: Any) -> bool:
    """Note what a look came to; False where the target is another one by now or, unless this proves it, was proved or lost meanwhile."""
    same = [
        TargetRow.organization_id == seen.organization_id,
        TargetRow.id == seen.id,
        TargetRow.scan_url == seen.scan_url,
        TargetRow.visibility == seen.visibility,
    ]
    if not is_proved:
        same.append(TargetRow.verified_at.is_not_distinct_from(seen.verified_at))
    won = await work.db.execute(update(TargetRow).where(*same).values(**values))
    return won.rowcount == 1


async def list_to_look_at(work: Work, most: int, scheduled_until: datetime, put_off_until: datetime) -> list[KnownTarget]:
    """Targets of all organizations whose proof is to be looked for again, the longest overdue first.

    Also those that a schedule scans before `scheduled_until` and that were not looked at for a day; not again while a look at one was
    `put_off_until` then.
    """
    soon = exists().where(ScheduleRow.target_id == TargetRow.id, ScheduleRow.enabled.is_(True), ScheduleRow.next_run_at <= scheduled_until)
    is_stale = and_(TargetRow.verification_checked_at < work.now - FRESH_FOR, TargetRow.verification_due_at > put_off_until, soon)
    rows = await work.db.execute(
        select(TargetRow.__table__)
        .where(or_(TargetRow.verification_due_at <= work.now, is_stale))
        .order_by(TargetRow.verification_due_at)
        .limit(most)
    )
    return [_known(row) for row in rows.mappings()]


async def put_off_looks(work: Work, target_ids: Collection[TargetId], until: datetime) -> None:
    """Nobody else begins them before then, and a look that gets lost is made up for."""
    await work.db.execute(update(TargetRow).where(TargetRow.id.in_(target_ids)).values(verification_due_at=until))


def to_turn(now: datetime) -> Select[Any]:
    """Targets of every organization whose stretch of scan windows is over, or lies further ahead than any that this clock has decided."""
    is_stale = or_(TargetRow.window_closes_at <= now, TargetRow.window_opens_at > now + FURTHEST_WINDOW)
    return select(TargetRow.__table__).where(is_stale)


async def list_to_turn(work: Work, most: int) -> list[KnownTarget]:
    rows = await work.db.execute(to_turn(work.now).order_by(TargetRow.id).limit(most))
    return [_known(row) for row in rows.mappings()]


def turned(now: datetime) -> Select[Any]:
    """Targets of every organization whose windows have opened or closed."""
    is_over = or_(TargetRow.window_turns_at <= now, TargetRow.window_turns_at > now + FURTHEST_WINDOW)
    return select(TargetRow.__table__).where(is_over)


async def list_turned(work: Work, most: int) -> list[KnownTarget]:
    """The first to do so first."""
    rows = await work.db.execute(turned(work.now).order_by(TargetRow.window_turns_at, TargetRow.id).limit(most))
    return [_known(row) for row in rows.mappings()]


async def turn(work: Work, target: KnownTarget, turns_at: datetime | None) -> bool:
    """Note when its windows turn next, unless somebody has changed them or noted it meanwhile."""
    same = (TargetRow.id == target.id, TargetRow.window_turns_at == target.window_turns_at)
    return (await work.db.execute(update(TargetRow).where(*same).values(window_turns_at=turns_at))).rowcount == 1


async def remove(work: Work, organization_id: OrganizationId, target_id: TargetId) -> bool:
    """Delete a target that was never scanned; False where it has scans."""
    scanned = exists().where(ScanRow.target_id == TargetRow.id)
    won = await work.db.execute(delete(TargetRow).where(TargetRow.organization_id == organization_id, TargetRow.id == target_id, ~scanned))
    return won.rowcount == 1


async def has_active_scan(work: Work, target_id: TargetId) -> bool:
    """Whether a scan of it waits or runs."""
    return bool(await work.db.scalar(select(exists().where(ScanRow.target_id == target_id, ScanRow.status.in_(ACTIVE_STATUSES)))))


async def list_by_id(work: Work, organization_id: OrganizationId, target_ids: Collection[TargetId]) -> dict[TargetId, KnownTarget]:
    rows = await work.db.execute(
        select(TargetRow.__table__).where(TargetRow.organization_id == organization_id, TargetRow.id.in_(target_ids))
    )
    return {row["id"]: _known(row) for row in rows.mappings()}


async def count_open(work: Work, target_ids: Collection[TargetId]) -> dict[TargetId, FindingCounts]:
    """What nobody has settled of each target, by severity."""
    rows = await work.db.execute(
        select(FindingRow.target_id, FindingRow.severity, func.count().label("n"))
        .where(FindingRow.target_id.in_(target_ids), FindingRow.user_status.in_((UserStatus.OPEN, UserStatus.IN_PROGRESS)))
        .group_by(FindingRow.target_id, FindingRow.severity)
    )
    counted: dict[TargetId, dict[str, int]] = {}
    for row in rows:
        counted.setdefault(row.target_id, {})[row.severity] = row.n
    return {target_id: FindingCounts(**counts) for target_id, counts in counted.items()}


async def record_scans(work: Work, target_ids: Collection[TargetId]) -> None:
    """A scan of each of these targets was started at this moment."""
    await work.db.execute(_SCANNED, {"ids": list(target_ids), "now": work.now})


async def capabilities_of(work: Work, runner_id: RunnerId) -> dict[str, JsonValue]:
    """What a runner last said it can do."""
    found: dict[str, JsonValue] = (await work.db.execute(select(RunnerRow.capabilities).where(RunnerRow.id == runner_id))).scalar_one()
    return found
