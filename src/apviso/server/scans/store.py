"""All SQL of scans and their attempts: one statement a function; a change compares and sets, and says whether it won."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, cast

from pydantic import TypeAdapter
from sqlalchemy import (
    BindParameter,
    ColumnElement,
    CompoundSelect,
    Integer,
    Select,
    Table,
    and_,
    bindparam,
    exists,
    false,
    func,
    insert,
    literal_column,
    or_,
    select,
    tuple_,
    union_all,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from apviso.protocol.findings import FindingCounts
from apviso.protocol.scan_events import ScanEvent
from apviso.protocol.scans import NewScan
from apviso.protocol.states import (
    ACTIVE_STATUSES,
    FINAL_STATUSES,
    LEASED_STATUSES,
    AdminState,
    EndReason,
    ScanStatus,
    UserStatus,
    Visibility,
)
from apviso.protocol.timers import Timers
from apviso.protocol.wire import Instant, JobId, OrganizationId, RunnerId, ScanId, TargetId, Text
from apviso.server.db.engine import Work
from apviso.server.db.many import one_of
from apviso.server.db.schema import AttemptRow, FindingRow, RunnerRow, ScanEventRow, ScanRow, SightingRow, SupersededEventRow, TargetRow
from apviso.server.errors import ScanNotFound
from apviso.server.paging import Page, cursor_at, place_of
from apviso.server.scans.breaker import Ending
from apviso.server.scans.facts import AttemptFacts, NewAttempt, ScanFacts
from apviso.server.scans.matching import WaitingScan
from apviso.server.scans.overdue import may_have_run_out, may_wait_too_long
from apviso.server.signals import runner_topic
from apviso.server.targets import store as targets
from apviso.server.targets.facts import KnownTarget

# As a table, for a statement with many sets of values.
_SCAN = cast(Table, ScanRow.__table__)
# Events in one answer of a log.
LOG_BATCH = 1_000
# Attempts that are looked back at to see whether a runner works.
MAX_ENDINGS = 50
# Late batches kept of one lost attempt: evidence, not a second log.
MAX_SUPERSEDED_BATCHES = 200


async def add(
    work: Work,
    organization_id: OrganizationId,
    scan_id: ScanId,
    job_id: JobId,
    wanted: NewScan,
    target_id: TargetId,
    visibility: Visibility,
) -> ScanFacts | None:
    """Queue a scan; None when the target has an active one already."""
    dialect = postgresql.insert if work.db.dialect.name == "postgresql" else sqlite.insert
    rows = await work.db.execute(
        dialect(ScanRow)
        .values(
            id=scan_id,
            job_id=job_id,
            organization_id=organization_id,
            target_id=target_id,
            target_visibility=visibility,
            requested_runner_id=wanted.runner_id,
            status=ScanStatus.PENDING_RUNNER,
            attempt=0,
            infrastructure_failures=0,
            model_preset=wanted.model_preset,
            is_retest=wanted.is_retest,
            parent_scan_id=wanted.parent_scan_id,
            finding_ids=wanted.finding_ids,
            percent=0,
            requests=0,
            created_at=work.now,
        )
        .on_conflict_do_nothing()
        .returning(ScanRow.__table__)
    )
    row = rows.mappings().one_or_none()
    return None if row is None else ScanFacts.of(row)


async def get(work: Work, organization_id: OrganizationId, scan_id: str) -> ScanFacts:
    found = await work.db.execute(select(ScanRow.__table__).where(ScanRow.organization_id == organization_id, ScanRow.id == scan_id))
    row = found.mappings().one_or_none()
    if row is None:
        raise ScanNotFound
    return ScanFacts.of(row)


async def get_locked(work: Work, organization_id: OrganizationId, scan_id: str) -> ScanFacts:
    """The same, kept from other changes until this one is done."""
    found = await work.db.execute(
        select(ScanRow.__table__).where(ScanRow.organization_id == organization_id, ScanRow.id == scan_id).with_for_update(key_share=True)
    )
    row = found.mappings().one_or_none()
    if row is None:
        raise ScanNotFound
    return ScanFacts.of(row)


async def find_active_locked(work: Work, organization_id: OrganizationId, target_id: TargetId) -> ScanFacts | None:
    """The scan of this target that waits or runs, kept from other changes until this one is done."""
    rows = await work.db.execute(
        select(ScanRow.__table__)
        .where(ScanRow.organization_id == organization_id, ScanRow.target_id == target_id, ScanRow.status.in_(ACTIVE_STATUSES))
        .with_for_update(key_share=True)
    )
    row = rows.mappings().one_or_none()
    return None if row is None else ScanFacts.of(row)


async def find_by_job(work: Work, organization_id: OrganizationId, job_id: str) -> ScanFacts | None:
    """The scan behind a job, kept from other changes until this one is done."""
    found = await work.db.execute(
        select(ScanRow.__table__)
        .where(ScanRow.organization_id == organization_id, ScanRow.job_id == job_id)
        .with_for_update(key_share=True)
    )
    row = found.mappings().one_or_none()
    return None if row is None else ScanFacts.of(row)


async def list_scans(
    work: Work, organization_id: OrganizationId, status: ScanStatus | None, target_id: str | None, page: Page, runner_id: str | None = None
) -> tuple[list[ScanFacts], int]:
    """Newest first (as many as the page fetches), and how many there are in all."""
    wanted: list[ColumnElement[bool]] = [ScanRow.organization_id == organization_id]
    if status is not None:
        wanted.append(ScanRow.status == status)
    if target_id is not None:
        wanted.append(ScanRow.target_id == target_id)
    if runner_id is not None:
        wanted.append(ScanRow.id.in_(select(AttemptRow.scan_id).where(AttemptRow.runner_id == runner_id)))
    total = await work.db.scalar(select(func.count()).select_from(ScanRow).where(*wanted))
    if page.cursor is not None:
        wanted.append(tuple_(ScanRow.created_at, ScanRow.id) < place_of(page.cursor, _PLACE))
    rows = await work.db.execute(
        select(ScanRow.__table__)
        .where(*wanted)
        .order_by(ScanRow.created_at.desc(), ScanRow.id.desc())
        .offset(page.offset)
        .limit(page.fetched)
    )
    return [ScanFacts.of(row) for row in rows.mappings()], total or 0


_PLACE = TypeAdapter(tuple[Instant, Text])


def cursor_after(scan: ScanFacts) -> str:
    """Where a list goes on after this scan."""
    return cursor_at(scan.created_at, scan.id)


def overdue(
    now: datetime, amnesty_until: datetime, timers: Timers
) -> tuple[Select[OrganizationId, ScanId], Select[OrganizationId, ScanId]]:
    """Scans of every organization of which a timer may have run out: those that are queued, and those that a runner holds."""
    wanted = select(ScanRow.organization_id, ScanRow.id)
    held = wanted.join(AttemptRow, and_(AttemptRow.scan_id == ScanRow.id, AttemptRow.number == ScanRow.attempt))
    return wanted.where(may_wait_too_long(now, timers)), held.where(may_have_run_out(now, amnesty_until, timers))


async def list_overdue(work: Work, amnesty_until: datetime, timers: Timers) -> list[tuple[OrganizationId, ScanId]]:
    """Queued ones first."""
    queued, held = overdue(work.now, amnesty_until, timers)
    rows = (*await work.db.execute(queued.order_by(ScanRow.id)), *await work.db.execute(held.order_by(ScanRow.id)))
    return [(row.organization_id, row.id) for row in rows]


async def list_held(work: Work, runner_id: RunnerId) -> list[tuple[ScanFacts, AttemptFacts]]:
    """The scans that a runner holds, with the attempts by which it does."""
    rows = await work.db.execute(select(AttemptRow.__table__).where(AttemptRow.runner_id == runner_id, AttemptRow.ended_at.is_(None)))
    attempts = {row["scan_id"]: AttemptFacts.of(row) for row in rows.mappings()}
    held = select(ScanRow.__table__).where(ScanRow.id.in_(attempts)).order_by(ScanRow.id)
    scans = await work.db.execute(held.with_for_update(key_share=True))
    return [(scan, attempts[scan.id]) for scan in map(ScanFacts.of, scans.mappings()) if scan.attempt == attempts[scan.id].number]


def drained_with_scans(now: datetime) -> Select[OrganizationId, RunnerId]:
    """Runners of every organization that still hold scans at the deadline of their drain."""
    return (
        select(RunnerRow.organization_id, RunnerRow.id)
        .join(AttemptRow, AttemptRow.runner_id == RunnerRow.id)
        .where(AttemptRow.ended_at.is_(None), RunnerRow.admin_state == AdminState.DRAINING, RunnerRow.drain_deadline <= now)
    )


async def list_drained_with_scans(work: Work) -> list[tuple[OrganizationId, RunnerId]]:
    return [(row.organization_id, row.id) for row in await work.db.execute(drained_with_scans(work.now).distinct())]


async def counts_of(work: Work, scans: Collection[ScanFacts]) -> dict[ScanId, tuple[FindingCounts, int]]:
    """Findings of each scan's current attempt by severity, and how many more are known as false positives."""
    current = or_(*(and_(SightingRow.scan_id == scan.id, SightingRow.attempt == scan.attempt) for scan in scans)) if scans else None
    if current is None:
        return {}
    rows = await work.db.execute(
        select(SightingRow.scan_id, SightingRow.severity, FindingRow.user_status, func.count().label("n"))
        .join(FindingRow, FindingRow.id == SightingRow.finding_id)
        .where(current)
        .group_by(SightingRow.scan_id, SightingRow.severity, FindingRow.user_status)
    )
    counted: dict[ScanId, tuple[Counter[str], Counter[str]]] = {}
    for row in rows:
        real, false = counted.setdefault(row.scan_id, (Counter(), Counter()))
        (false if row.user_status == UserStatus.FALSE_POSITIVE else real)[row.severity] += row.n
    return {scan_id: (FindingCounts(**real), false.total()) for scan_id, (real, false) in counted.items()}


async def names_of(work: Work, scans: Collection[ScanFacts]) -> dict[ScanId, tuple[str, str | None]]:
    """What the target of each scan is called, and the runner that has it or is asked for."""
    runner_id = func.coalesce(ScanRow.runner_id, ScanRow.requested_runner_id)
    rows = await work.db.execute(
        select(ScanRow.id, TargetRow.domain, RunnerRow.name)
        .join(TargetRow, TargetRow.id == ScanRow.target_id)
        .outerjoin(RunnerRow, RunnerRow.id == runner_id)
        .where(ScanRow.id.in_([scan.id for scan in scans]))
    )
    return {row.id: (row.domain, row.name) for row in rows}


# ---- claiming


_WAITING_SCAN = (
    ScanRow.id,
    ScanRow.target_visibility,
    ScanRow.requested_runner_id,
    ScanRow.avoid_runner_id,
    ScanRow.not_before,
    ScanRow.created_at,
)
_AGE = (ScanRow.created_at, ScanRow.id)
# As it is written in the indexes, which only a constant is compared with.
_IS_PENDING = ScanRow.status == literal_column(f"'{ScanStatus.PENDING_RUNNER}'")


def _is_claimable(now: datetime | BindParameter[datetime]) -> ColumnElement[bool]:
    still_touched = exists().where(AttemptRow.target_id == ScanRow.target_id, AttemptRow.silent_at > now).correlate(ScanRow)
    closed = exists().where(
        TargetRow.id == ScanRow.target_id,
        TargetRow.window_opens_at.is_not(None),
        or_(TargetRow.window_opens_at > now, TargetRow.window_closes_at <= now),
    )
    is_closed = closed.correlate(ScanRow)
    is_due = or_(ScanRow.not_before.is_(None), ScanRow.not_before <= now)
    return and_(_IS_PENDING, ScanRow.cancel_requested_at.is_(None), is_due, ~still_touched, ~is_closed)


async def list_claimable(work: Work, organization_id: OrganizationId, most: int, other_since: datetime) -> list[WaitingScan]:
    """The scans that some runner may take now: the oldest of each kind, `most` of each, which is enough for that many runners.

    What a kind is, `matching.may_take` decides by: visibility, the runner that was asked for, the runner that it has left, and whether that
    was before `other_since`.
    """
    asked = {"of": organization_id, "now": work.now, "most": most, "other_since": other_since}
    rows = await work.db.execute(_CLAIMABLE, asked)
    return [WaitingScan(**{**row, "target_visibility": Visibility(row["target_visibility"])}) for row in rows.mappings()]


def _oldest_of_each_kind() -> CompoundSelect[Any]:
    most = bindparam("most", type_=Integer)
    mine = and_(ScanRow.organization_id == bindparam("of"), _is_claimable(bindparam("now", type_=ScanRow.created_at.type)))
    anybodys = and_(mine, ScanRow.requested_runner_id.is_(None), ScanRow.avoid_runner_id.is_(None))
    oldest = [
        select(*_WAITING_SCAN).where(anybodys, ScanRow.target_visibility == visibility).order_by(*_AGE).limit(most).subquery()
        for visibility in Visibility
    ]
    has_left_long_ago = func.coalesce(ScanRow.not_before <= bindparam("other_since"), false())
    kind = (ScanRow.requested_runner_id, ScanRow.avoid_runner_id, ScanRow.target_visibility, has_left_long_ago)
    place = func.row_number().over(partition_by=kind, order_by=_AGE).label("place")
    others = or_(ScanRow.requested_runner_id.is_not(None), ScanRow.avoid_runner_id.is_not(None))
    special = select(*_WAITING_SCAN, place).where(mine, others).subquery()
    names = [column.key for column in _WAITING_SCAN]
    chosen = select(*(special.c[name] for name in names)).where(special.c.place <= most)
    return union_all(*(select(*part.c) for part in oldest), chosen)


# Put together once: it is asked again and again, and takes longer to write than to answer.
_CLAIMABLE = _oldest_of_each_kind()


async def list_organizations_with_claimable(work: Work) -> set[OrganizationId]:
    """Where a runner may find something now."""
    rows = await work.db.execute(select(ScanRow.organization_id).where(_is_claimable(work.now)).distinct())
    return set(rows.scalars())


_SCAN_NAMES = tuple(column.key for column in _SCAN.columns)
_LOCKED = (
    select(*_SCAN.columns, *targets.COLUMNS)
    .join(TargetRow, TargetRow.id == ScanRow.target_id)
    .where(ScanRow.organization_id == bindparam("of"), one_of(ScanRow.id, "ids"))
    .where(_is_claimable(bindparam("now", type_=ScanRow.created_at.type)))
    .order_by(ScanRow.id)
    .with_for_update(of=ScanRow, skip_locked=True, key_share=True)
)


async def lock_claimable(
    work: Work, organization_id: OrganizationId, scan_ids: Collection[ScanId]
) -> tuple[list[ScanFacts], dict[TargetId, KnownTarget]]:
    """Those of these scans that may still be claimed, kept from other changes until this one is done, and their targets."""
    scans, known = list[ScanFacts](), dict[TargetId, KnownTarget]()
    for row in await work.db.execute(_LOCKED, {"of": organization_id, "ids": list(scan_ids), "now": work.now}):
        scan = ScanFacts.of(dict(zip(_SCAN_NAMES, row, strict=False)))
        scans.append(scan)
        known[scan.target_id] = targets.known_of(row[len(_SCAN_NAMES) :])
    return scans, known


_UNTOUCHED = {"status": ScanStatus.ASSIGNED, "status_reason": None, "not_before": None, "phase": None, "percent": 0, "requests": 0}
_ASSIGNED = (
    _SCAN.update()
    .where(_SCAN.c.id == bindparam("of_scan"), _SCAN.c.attempt == bindparam("after"))
    .values(attempt=bindparam("number"), runner_id=bindparam("by_runner"), **_UNTOUCHED)
)
_NEW_ATTEMPTS = insert(AttemptRow)


async def assign(work: Work, claims: Sequence[NewAttempt]) -> None:
    """Give each scan to its runner as the next attempt. The scans are locked, so nobody is faster."""
    await work.db.execute(
        _ASSIGNED,
        [{"of_scan": one.scan.id, "after": one.scan.attempt, "number": one.scan.attempt + 1, "by_runner": one.runner_id} for one in claims],
    )


async def add_attempts(work: Work, claims: Sequence[NewAttempt], lease_expires_at: datetime) -> None:
    await work.db.execute(
        _NEW_ATTEMPTS,
        [
            {
                "scan_id": one.scan.id,
                "number": one.scan.attempt + 1,
                "organization_id": one.scan.organization_id,
                "target_id": one.scan.target_id,
                "runner_id": one.runner_id,
                "nonce": one.nonce,
                "job_token_prefix": one.job_token.prefix,
                "job_token_sha256": one.job_token.digest(),
                "assigned_at": work.now,
                "heard_at": work.now,
                "renewed_at": work.now,
                "lease_expires_at": lease_expires_at,
                "last_seq": 0,
            }
            for one in claims
        ],
    )
    work.hints.update(runner_topic(one.runner_id) for one in claims)


async def find_claim(work: Work, runner_id: RunnerId, nonce: str) -> AttemptFacts | None:
    """The attempt that an earlier claim with this nonce got."""
    found = await work.db.execute(select(AttemptRow.__table__).where(AttemptRow.runner_id == runner_id, AttemptRow.nonce == nonce))
    row = found.mappings().one_or_none()
    return None if row is None else AttemptFacts.of(row)


# ---- the attempt that holds the lease


async def find_attempt(work: Work, scan_id: ScanId, number: int) -> AttemptFacts | None:
    found = await work.db.execute(select(AttemptRow.__table__).where(AttemptRow.scan_id == scan_id, AttemptRow.number == number))
    row = found.mappings().one_or_none()
    return None if row is None else AttemptFacts.of(row)


async def list_attempts(work: Work, scan_id: ScanId) -> list[tuple[AttemptFacts, str]]:
    """All attempts of a scan in their order, each with its runner's name."""
    rows = await work.db.execute(
        select(AttemptRow.__table__, RunnerRow.name.label("runner_name"))
        .join(RunnerRow, RunnerRow.id == AttemptRow.runner_id)
        .where(AttemptRow.scan_id == scan_id)
        .order_by(AttemptRow.number)
    )
    return [(AttemptFacts.of(row), row["runner_name"]) for row in rows.mappings()]


async def find_live(work: Work, scan: ScanFacts) -> AttemptFacts | None:
    """The attempt that holds the scan's lease."""
    attempt = await find_attempt(work, scan.id, scan.attempt)
    return attempt if attempt is not None and attempt.ended_at is None else None


async def list_endings(work: Work, latest: AttemptFacts, since: datetime) -> list[Ending]:
    """How the runner's other attempts ended since then, the latest first."""
    rows = await work.db.execute(
        select(AttemptRow.__table__)
        .where(AttemptRow.runner_id == latest.runner_id, AttemptRow.ended_at >= since, AttemptRow.end_reason.is_not(None))
        .where(or_(AttemptRow.scan_id != latest.scan_id, AttemptRow.number != latest.number))
        .order_by(AttemptRow.ended_at.desc(), AttemptRow.assigned_at.desc(), AttemptRow.number.desc())
        .limit(MAX_ENDINGS)
    )
    return [
        Ending(
            row["scan_id"],
            row["number"],
            row["target_id"],
            EndReason(row["end_reason"]),
            (row["finish"] or {}).get("errorMessage"),
            row["assigned_at"],
            row["started_at"],
            row["ended_at"],
        )
        for row in rows.mappings()
    ]


async def has_worked_on(work: Work, scan_id: ScanId, runner_id: RunnerId) -> bool:
    found = select(AttemptRow.number).where(AttemptRow.scan_id == scan_id, AttemptRow.runner_id == runner_id).limit(1)
    return await work.db.scalar(found) is not None


async def edit_attempt(work: Work, attempt: AttemptFacts, **values: Any) -> bool:
    """Change a live attempt; it counts as heard of. False when it has ended meanwhile."""
    won = await work.db.execute(
        update(AttemptRow)
        .where(AttemptRow.scan_id == attempt.scan_id, AttemptRow.number == attempt.number, AttemptRow.ended_at.is_(None))
        .values(heard_at=work.now, **values)
    )
    return won.rowcount == 1


async def end_attempt(
    work: Work, attempt: AttemptFacts, reason: EndReason | None, silent_at: datetime, finish: dict[str, Any] | None
) -> bool:
    won = await work.db.execute(
        update(AttemptRow)
        .where(AttemptRow.scan_id == attempt.scan_id, AttemptRow.number == attempt.number, AttemptRow.ended_at.is_(None))
        .values(ended_at=work.now, end_reason=reason, silent_at=silent_at, finish=finish)
    )
    work.hints.add(runner_topic(attempt.runner_id))
    return won.rowcount == 1


async def move(work: Work, scan: ScanFacts, to: ScanStatus, **values: Any) -> bool:
    """Change a scan's state if it is still as `scan` says: same attempt, same status."""
    won = await work.db.execute(
        update(ScanRow)
        .where(ScanRow.id == scan.id, ScanRow.attempt == scan.attempt, ScanRow.status == scan.status)
        .values(status=to, **values)
    )
    return won.rowcount == 1


async def request_cancel(work: Work, scan: ScanFacts, reason: EndReason) -> bool:
    """Note the wish once; the first reason stays."""
    won = await work.db.execute(
        update(ScanRow)
        .where(ScanRow.id == scan.id, ScanRow.status.in_(LEASED_STATUSES), ScanRow.cancel_requested_at.is_(None))
        .values(cancel_requested_at=work.now, cancel_reason=reason)
    )
    return won.rowcount == 1


async def record_progress(work: Work, scan_id: ScanId, **values: Any) -> None:
    await work.db.execute(update(ScanRow).where(ScanRow.id == scan_id, ScanRow.status.not_in(FINAL_STATUSES)).values(**values))


# ---- events


async def add_events(work: Work, attempt: AttemptFacts, events: Sequence[ScanEvent]) -> None:
    rows = [
        {
            "scan_id": attempt.scan_id,
            "attempt": attempt.number,
            "seq": event.seq,
            "at": event.at,
            "type": event.type,
            "body": _body(event),
        }
        for event in events
    ]
    await work.db.execute(insert(ScanEventRow), rows)


def _body(event: ScanEvent) -> dict[str, Any]:
    body = event.model_dump(mode="json", by_alias=True, exclude={"seq", "at", "type"})
    if body.get("missing", body) is None:
        # Of most lines nothing is missing, and nobody need read so.
        del body["missing"]
    return body


async def add_superseded(work: Work, scan_id: ScanId, number: int, events: list[str]) -> None:
    """Keep what came too late, up to a bound."""
    kept = select(func.count()).where(SupersededEventRow.scan_id == scan_id, SupersededEventRow.attempt == number)
    if (await work.db.scalar(kept) or 0) < MAX_SUPERSEDED_BATCHES:
        await work.db.execute(insert(SupersededEventRow).values(scan_id=scan_id, attempt=number, received_at=work.now, events=events))


async def list_events(work: Work, scan_id: ScanId, attempt: int, after: int, most: int = LOG_BATCH) -> list[dict[str, Any]]:
    """Events of one attempt after `after`, at most `most`."""
    rows = await work.db.execute(
        select(ScanEventRow.seq, ScanEventRow.attempt, ScanEventRow.at, ScanEventRow.type, ScanEventRow.body)
        .where(ScanEventRow.scan_id == scan_id, ScanEventRow.attempt == attempt, ScanEventRow.seq > after)
        .order_by(ScanEventRow.seq)
        .limit(most)
    )
    return [{"seq": row.seq, "attempt": row.attempt, "at": row.at, "type": row.type, **row.body} for row in rows]
