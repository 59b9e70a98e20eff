"""All SQL of runners: one statement a function; a change says whether it won.

A change of a runner sends its topic, so that no process goes on answering for it from memory. What only says that it lives touches it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from operator import attrgetter
from typing import Any, cast

from pydantic_core import to_json
from sqlalchemy import ColumnElement, Select, Table, and_, bindparam, case, delete, func, insert, or_, select, text, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import aliased

from apviso.protocol.daemon import Heartbeat, Registration
from apviso.protocol.runners import Boot, HeartbeatGap, Quarantine, StatusInterval
from apviso.protocol.states import AdminState, RunnerStatus, Silence
from apviso.protocol.tokens import Token
from apviso.protocol.wire import JobId, OrganizationId, RunnerId
from apviso.server.db.beats import Beats, write
from apviso.server.db.engine import Work
from apviso.server.db.many import one_of
from apviso.server.db.moments import Moment
from apviso.server.db.schema import AttemptRow, HeartbeatGapRow, RunnerIntervalRow, RunnerRow, RunnerSampleRow, RunnerTokenRow, ScanRow
from apviso.server.errors import RunnerNotFound
from apviso.server.localtime import FURTHEST_WINDOW, read_windows
from apviso.server.runners.beats import Pulse, told
from apviso.server.runners.facts import RunnerFacts
from apviso.server.runners.health import Sample, place_of
from apviso.server.runners.presence import Presence, PresencePolicy
from apviso.server.runners.unsettled import may_have_changed
from apviso.server.signals import runner_topic

# Rows of history in one answer.
MAX_HISTORY = 1_000
# Of all runners of a page together: two hundred changes of each in a day.
MAX_STRETCHES = 20_000
# Claims of a runner that may still be asked for again.
MAX_NONCES = 20
# As tables, for statements with many sets of values.
_ROW = cast(Table, RunnerRow.__table__)
_INTERVAL = cast(Table, RunnerIntervalRow.__table__)
_LIVE_LEASES = select(func.count()).where(AttemptRow.runner_id == RunnerRow.id, AttemptRow.ended_at.is_(None)).scalar_subquery()


def _known() -> Select[Any]:
    return select(RunnerRow.__table__, _LIVE_LEASES.label("live_leases"))


# What each round of claims asks is put together once.
_LOCKED = select(RunnerRow.id).where(one_of(RunnerRow.id, "ids")).order_by(RunnerRow.id).with_for_update(key_share=True)
_CLAIMED = aliased(AttemptRow)
_CLAIMING = (
    _known()
    .add_columns(_CLAIMED.nonce.label("used_nonce"))
    .outerjoin(_CLAIMED, and_(_CLAIMED.runner_id == RunnerRow.id, one_of(_CLAIMED.nonce, "nonces")))
    .where(RunnerRow.organization_id == bindparam("of"), one_of(RunnerRow.id, "ids"))
)


def _facts(row: Mapping[Any, Any]) -> RunnerFacts:
    observed = row["observed_status"]
    return RunnerFacts(
        **{
            **row,
            "admin_state": AdminState(row["admin_state"]),
            "observed_status": RunnerStatus(observed) if observed else None,
            "maintenance_windows": read_windows(row["maintenance_windows"]),
            "boots": tuple(Boot.model_validate(boot) for boot in row["boots"] or ()),
            "quarantine": Quarantine.model_validate(row["quarantine"]) if row["quarantine"] else None,
        }
    )


async def list_ids(work: Work, organization_id: OrganizationId) -> list[RunnerId]:
    return list((await work.db.execute(select(RunnerRow.id).where(RunnerRow.organization_id == organization_id))).scalars())


async def list_by_id(work: Work, organization_id: OrganizationId, runner_ids: Collection[RunnerId]) -> dict[RunnerId, RunnerFacts]:
    rows = await work.db.execute(_known().where(RunnerRow.organization_id == organization_id, RunnerRow.id.in_(runner_ids)))
    return {row["id"]: _facts(row) for row in rows.mappings()}


async def list_claiming(
    work: Work, organization_id: OrganizationId, runner_ids: Collection[RunnerId], nonces: Collection[str]
) -> tuple[dict[RunnerId, RunnerFacts], set[tuple[RunnerId, str]]]:
    """These runners, and which of the nonces have got a claim already, by the runner that sent them."""
    rows = await work.db.execute(_CLAIMING, {"of": organization_id, "ids": list(runner_ids), "nonces": list(nonces)})
    found, used = dict[RunnerId, RunnerFacts](), set[tuple[RunnerId, str]]()
    for row in rows.mappings():
        values = dict(row)
        runner_id, nonce = values["id"], values.pop("used_nonce")
        if nonce is not None:
            used.add((runner_id, nonce))
        if runner_id not in found:
            found[runner_id] = _facts(values)
    return found, used


async def horizon(work: Work) -> int:
    """On PostgreSQL: the oldest transaction that was still under way. Whatever is not visible now was written by it or by a later one."""
    return int(await work.db.scalar(text("SELECT CAST(CAST(pg_snapshot_xmin(pg_current_snapshot()) AS text) AS bigint)")) or 0)


async def list_written_since(work: Work, organization_id: OrganizationId, horizon: int) -> list[RunnerId]:
    """On PostgreSQL: whose rows were written by that transaction or a later one, by whichever process and for whatever reason."""
    # A row knows 32 bits of the transaction's number; its age is the way to compare them across the turn of the count.
    wanted = text("SELECT id FROM runners WHERE organization_id = :of AND age(xmin) <= age(CAST(CAST(:horizon AS text) AS xid))")
    found = await work.db.execute(wanted, {"of": organization_id, "horizon": str(horizon % 2**32)})
    return [RunnerId(runner_id) for runner_id in found.scalars()]


def unsettled(now: Moment, policy: PresencePolicy) -> Select[Any]:
    """Runners of every organization that may stand differently from what was noted."""
    return select(RunnerRow.id).where(may_have_changed(now, policy, _LIVE_LEASES))


async def list_unsettled(work: Work, policy: PresencePolicy) -> list[RunnerId]:
    return list((await work.db.execute(unsettled(work.now, policy).order_by(RunnerRow.id))).scalars())


async def list_locked(work: Work, runner_ids: Sequence[RunnerId]) -> list[RunnerFacts]:
    """Of these runners those that nobody else is at, kept from other changes until this one is done."""
    free = select(RunnerRow.id).where(RunnerRow.id.in_(runner_ids)).order_by(RunnerRow.id).with_for_update(key_share=True, skip_locked=True)
    locked = list((await work.db.execute(free)).scalars())
    # Not in one statement: leases would be counted as they were before the lock.
    rows = await work.db.execute(_known().where(RunnerRow.id.in_(locked)).order_by(RunnerRow.id))
    return [_facts(row) for row in rows.mappings()]


async def list_by_token(work: Work, prefixes: Collection[str]) -> dict[str, tuple[RunnerFacts, str]]:
    """Runners that are not revoked, by the prefix of their token, with its digest; without tokens that run out or were never used."""
    token = RunnerTokenRow
    rows = await work.db.execute(
        _known()
        .add_columns(token.prefix.label("of_prefix"), token.secret_sha256.label("of_digest"))
        .join(token, token.runner_id == RunnerRow.id)
        .where(token.prefix.in_(prefixes), token.valid_until.is_(None), token.first_used_at.is_not(None), RunnerRow.revoked_at.is_(None))
    )
    found: dict[str, tuple[RunnerFacts, str]] = {}
    for row in rows.mappings():
        values = dict(row)
        prefix, digest = values.pop("of_prefix"), values.pop("of_digest")
        found[prefix] = _facts(values), digest
    return found


def turned(now: Moment) -> Select[Any]:
    """Runners of every organization whose maintenance has begun or ended."""
    return _known().where(or_(RunnerRow.maintenance_turns_at <= now, RunnerRow.maintenance_turns_at > now + FURTHEST_WINDOW))


async def list_turned(work: Work, most: int) -> list[RunnerFacts]:
    """The first to do so first."""
    rows = await work.db.execute(turned(work.now).order_by(RunnerRow.maintenance_turns_at, RunnerRow.id).limit(most))
    return [_facts(row) for row in rows.mappings()]


async def turn(work: Work, runner: RunnerFacts, turns_at: datetime | None) -> bool:
    """Note when its windows turn next, unless somebody has changed them or noted it meanwhile."""
    same = (RunnerRow.id == runner.id, RunnerRow.maintenance_turns_at == runner.maintenance_turns_at)
    won = await work.db.execute(update(RunnerRow).where(*same).values(maintenance_turns_at=turns_at))
    work.hints.add(runner_topic(runner.id))
    return won.rowcount == 1


async def get(work: Work, organization_id: OrganizationId, runner_id: str) -> RunnerFacts:
    row = (
        (await work.db.execute(_known().where(RunnerRow.organization_id == organization_id, RunnerRow.id == runner_id)))
        .mappings()
        .one_or_none()
    )
    if row is None:
        raise RunnerNotFound
    return _facts(row)


async def lock(work: Work, *runner_ids: RunnerId) -> None:
    """Keep the runners' other calls waiting until this one is done: they count their slots, their boots and their tokens."""
    # SQLite has one writer.
    if work.db.dialect.name == "postgresql":
        await work.db.execute(_LOCKED, {"ids": list(runner_ids)})


async def count_registered(work: Work, organization_id: OrganizationId) -> int:
    """What the license's runner limit counts: registered and not revoked."""
    counted = select(func.count()).where(RunnerRow.organization_id == organization_id, RunnerRow.revoked_at.is_(None))
    return await work.db.scalar(counted) or 0


async def count_everyone(work: Work) -> int:
    """Registered and not revoked, in all organizations."""
    return await work.db.scalar(select(func.count()).select_from(RunnerRow).where(RunnerRow.revoked_at.is_(None))) or 0


async def add(
    work: Work,
    organization_id: OrganizationId,
    runner_id: RunnerId,
    told: Registration,
    name: str,
    labels: list[str],
    ephemeral: bool,
    token: Token,
) -> None:
    await work.db.execute(
        insert(RunnerRow).values(
            id=runner_id,
            organization_id=organization_id,
            name=name,
            token_prefix=token.prefix,
            ephemeral=ephemeral,
            labels=labels,
            created_at=work.now,
            admin_state=AdminState.ENABLED,
            version=told.version,
            protocol_version=told.protocol_version,
            os=told.os,
            arch=told.arch,
            container_engine=told.container_engine,
            configured_concurrency=told.configured_concurrency,
            provider_state=told.provider_state,
            capabilities=told.capabilities,
            health={},
            beat_seq=0,
        )
    )
    work.touched.add((organization_id, runner_id))


async def add_token(work: Work, runner_id: RunnerId, token: Token) -> None:
    await work.db.execute(
        insert(RunnerTokenRow).values(prefix=token.prefix, runner_id=runner_id, secret_sha256=token.digest(), created_at=work.now)
    )


async def drop_tokens(work: Work, runner_id: RunnerId) -> None:
    await work.db.execute(delete(RunnerTokenRow).where(RunnerTokenRow.runner_id == runner_id))


async def drop_unused_tokens(work: Work, runner_id: RunnerId, except_prefix: str) -> None:
    """New tokens whose answer was lost: nobody holds them."""
    await work.db.execute(
        delete(RunnerTokenRow).where(
            RunnerTokenRow.runner_id == runner_id, RunnerTokenRow.first_used_at.is_(None), RunnerTokenRow.prefix != except_prefix
        )
    )


async def limit_token(work: Work, prefix: str, until: datetime) -> None:
    """The token in use stays valid until the new one is first used, at most until `until`."""
    await work.db.execute(
        update(RunnerTokenRow).where(RunnerTokenRow.prefix == prefix, RunnerTokenRow.valid_until.is_(None)).values(valid_until=until)
    )


async def record_heartbeat(
    work: Work, known: RunnerFacts, beat: Heartbeat, duplicate_seen_at: datetime | None, boots: Sequence[Boot]
) -> None:
    """Facts of the latest heartbeat; what it leaves out, and what an older one of the same boot says late, stays as it was."""
    is_new_boot = beat.boot_id != known.boot_id
    await work.db.execute(
        update(RunnerRow)
        .where(RunnerRow.id == known.id, RunnerRow.revoked_at.is_(None))
        .values(
            boot_id=beat.boot_id,
            previous_boot_id=known.boot_id if is_new_boot else known.previous_boot_id,
            duplicate_seen_at=duplicate_seen_at,
            boots=[boot.model_dump(mode="json", by_alias=True) for boot in boots],
            last_heartbeat_at=work.now,
            last_contact_at=work.now,
            goodbye_at=None,
            **(told(beat) if is_new_boot or beat.beat_seq >= known.beat_seq else {}),
        )
    )
    work.touched.add((known.organization_id, known.id))


async def list_held_jobs(work: Work, runner_id: RunnerId) -> set[tuple[JobId, int]]:
    """The jobs that the runner holds by the records, with the number of the attempt."""
    rows = await work.db.execute(
        select(ScanRow.job_id, AttemptRow.number)
        .join(AttemptRow, (AttemptRow.scan_id == ScanRow.id) & (AttemptRow.number == ScanRow.attempt))
        .where(AttemptRow.runner_id == runner_id, AttemptRow.ended_at.is_(None))
    )
    return {(row.job_id, row.number) for row in rows}


async def answer_roll_call(work: Work, runner_id: RunnerId) -> None:
    """It has said what it runs, and is waited for no longer."""
    await work.db.execute(update(RunnerRow).where(RunnerRow.id == runner_id).values(roll_call_until=None))


@dataclass(frozen=True)
class Answered:
    """Heartbeats that were answered from memory: what they write, and whose runners these are, in the same order."""

    beats: Beats
    organization_ids: list[OrganizationId]


def answered(runners: Iterable[RunnerFacts | Pulse]) -> Answered:
    """Of each runner the latest one. Thousands come by here each second: a column at a time costs half of what a record does."""
    of = sorted(runners, key=attrgetter("id"))
    beats = Beats(
        [one.id for one in of],
        [one.boot_id for one in of],
        [one.beat_seq for one in of],
        [one.claim_poll_age_ms for one in of],
        [to_json(one.health).decode() for one in of],
        # It was answered, so there is one.
        cast(list[datetime], [one.last_heartbeat_at for one in of]),
    )
    return Answered(beats, [one.organization_id for one in of])


async def record_beats(work: Work, told: Answered) -> None:
    """Heartbeats that were answered before they were written. Newer ones, and what was done to a runner since, stay as they are."""
    work.touched.update(zip(told.organization_ids, told.beats.runner_id, strict=True))
    await write(work.db, told.beats)


async def record_goodbye(work: Work, runner_id: RunnerId) -> None:
    """It runs nothing any more, which answers a roll call, too."""
    await work.db.execute(update(RunnerRow).where(RunnerRow.id == runner_id).values(goodbye_at=work.now, roll_call_until=None))
    work.hints.add(runner_topic(runner_id))


async def edit(work: Work, organization_id: OrganizationId, runner_id: RunnerId, **values: Any) -> bool:
    """Change what an administrator may change, unless the runner is revoked."""
    won = await work.db.execute(
        update(RunnerRow)
        .where(RunnerRow.organization_id == organization_id, RunnerRow.id == runner_id, RunnerRow.revoked_at.is_(None))
        .values(**values)
    )
    work.hints.add(runner_topic(runner_id))
    return won.rowcount == 1


async def edit_as_read(work: Work, runner: RunnerFacts, **values: Any) -> bool:
    """Change what is wanted of it, unless somebody else has done so since it was read, or it is revoked."""
    won = await work.db.execute(
        update(RunnerRow)
        .where(
            RunnerRow.id == runner.id,
            RunnerRow.revoked_at.is_(None),
            RunnerRow.admin_state == runner.admin_state,
            RunnerRow.admin_until.is_not_distinct_from(runner.admin_until),
            RunnerRow.trusted_at.is_not_distinct_from(runner.trusted_at),
        )
        .values(**values)
    )
    work.hints.add(runner_topic(runner.id))
    return won.rowcount == 1


async def revoke(work: Work, organization_id: OrganizationId, runner_id: RunnerId) -> bool:
    """Final. False when it was revoked before."""
    return await edit(work, organization_id, runner_id, revoked_at=work.now)


async def retire(work: Work, organization_id: OrganizationId, runner_id: RunnerId) -> bool:
    """Revoke an ephemeral runner after its one scan; it may still repeat its finish and say goodbye."""
    return await edit(work, organization_id, runner_id, revoked_at=work.now, retired_at=work.now)


def _is_paused_no_longer(now: Moment) -> ColumnElement[bool]:
    return and_(RunnerRow.admin_until <= now, RunnerRow.revoked_at.is_(None))


def paused_no_longer(now: Moment) -> Select[Any]:
    """Runners of every organization whose pause or quarantine has run out."""
    return select(RunnerRow.id).where(_is_paused_no_longer(now))


async def end_expired_pauses(work: Work) -> Sequence[tuple[OrganizationId, RunnerId]]:
    """They are enabled again."""
    rows = await work.db.execute(
        update(RunnerRow)
        .where(_is_paused_no_longer(work.now))
        .values(admin_state=AdminState.ENABLED, admin_until=None, admin_note=None)
        .returning(RunnerRow.organization_id, RunnerRow.id)
    )
    resumed = [(row.organization_id, row.id) for row in rows]
    work.hints.update(runner_topic(runner_id) for _, runner_id in resumed)
    return resumed


async def list_cancelled_jobs(work: Work, runner_ids: Collection[RunnerId]) -> dict[RunnerId, list[JobId]]:
    """Jobs that these runners still hold and should stop."""
    rows = await work.db.execute(
        select(AttemptRow.runner_id, ScanRow.job_id)
        .join(AttemptRow, (AttemptRow.scan_id == ScanRow.id) & (AttemptRow.number == ScanRow.attempt))
        .where(AttemptRow.runner_id.in_(runner_ids), AttemptRow.ended_at.is_(None), ScanRow.cancel_requested_at.is_not(None))
        .order_by(ScanRow.cancel_requested_at)
    )
    found: dict[RunnerId, list[JobId]] = {}
    for row in rows:
        found.setdefault(row.runner_id, []).append(row.job_id)
    return found


async def list_nonces(work: Work, runner_ids: Collection[RunnerId]) -> dict[RunnerId, frozenset[str]]:
    """The nonces of the latest claims that these runners got something by; who asks with an older one repeats nothing that was lost."""
    place = func.row_number().over(partition_by=AttemptRow.runner_id, order_by=AttemptRow.assigned_at.desc()).label("place")
    latest = select(AttemptRow.runner_id, AttemptRow.nonce, place).where(AttemptRow.runner_id.in_(runner_ids)).subquery()
    rows = await work.db.execute(select(latest.c.runner_id, latest.c.nonce).where(latest.c.place <= MAX_NONCES))
    found: dict[RunnerId, set[str]] = {}
    for row in rows:
        found.setdefault(row.runner_id, set()).add(row.nonce)
    return {runner_id: frozenset(nonces) for runner_id, nonces in found.items()}


async def record_observations(work: Work, seen: Sequence[tuple[RunnerFacts, Presence]]) -> None:
    """What the history last recorded. The rows are locked by this transaction."""
    statement = update(_ROW).where(_ROW.c.id == bindparam("of_id"))
    await work.db.execute(
        statement.values(observed_status=bindparam("new_status"), observed_reasons=bindparam("new_reasons")),
        [{"of_id": one.id, "new_status": presence.status, "new_reasons": list(presence.reasons)} for one, presence in seen],
    )
    work.hints.update(runner_topic(one.id) for one, _ in seen)


async def close_intervals(work: Work, ends: Mapping[RunnerId, datetime]) -> None:
    until = bindparam("new_until", type_=_INTERVAL.c.until.type)
    await work.db.execute(
        update(_INTERVAL)
        .where(_INTERVAL.c.runner_id == bindparam("of_id"), _INTERVAL.c.until.is_(None))
        .values(until=case((_INTERVAL.c.since > until, _INTERVAL.c.since), else_=until)),
        [{"of_id": runner_id, "new_until": end} for runner_id, end in ends.items()],
    )


async def open_intervals(work: Work, begun: Sequence[tuple[RunnerId, Presence, datetime]]) -> None:
    await work.db.execute(
        insert(_INTERVAL),
        [{"runner_id": of, "status": presence.status, "reasons": list(presence.reasons), "since": since} for of, presence, since in begun],
    )


async def add_gap(work: Work, runner_id: RunnerId, since: datetime) -> None:
    """A stretch without heartbeats that has just ended."""
    await work.db.execute(insert(HeartbeatGapRow).values(runner_id=runner_id, since=since, until=work.now))


async def list_intervals(work: Work, runner_id: RunnerId, since: datetime) -> list[StatusInterval]:
    """The stretches that reach past `since`, oldest first, the latest MAX_HISTORY of them."""
    rows = await work.db.execute(
        select(RunnerIntervalRow.status, RunnerIntervalRow.reasons, RunnerIntervalRow.since, RunnerIntervalRow.until)
        .where(RunnerIntervalRow.runner_id == runner_id, or_(RunnerIntervalRow.until.is_(None), RunnerIntervalRow.until > since))
        .order_by(RunnerIntervalRow.since.desc(), RunnerIntervalRow.id.desc())
        .limit(MAX_HISTORY)
    )
    return [StatusInterval.model_validate(dict(row)) for row in reversed(rows.mappings().all())]


async def list_stretches(
    work: Work, organization_id: OrganizationId, runner_ids: Collection[RunnerId], since: datetime
) -> dict[RunnerId, list[tuple[RunnerStatus, datetime, datetime | None]]]:
    """Status, since and until of many runners' intervals that reach past `since`; of more than MAX_STRETCHES the latest.

    Before its first report a runner was not there to be missed: nothing is known of that time.
    """
    row = RunnerIntervalRow
    rows = await work.db.execute(
        select(row.runner_id, row.status, row.since, row.until, row.reasons)
        .join(RunnerRow, RunnerRow.id == row.runner_id)
        .where(RunnerRow.organization_id == organization_id, row.runner_id.in_(runner_ids))
        .where(or_(row.until.is_(None), row.until > since))
        .order_by(row.since.desc())
        .limit(MAX_STRETCHES)
    )
    found: dict[RunnerId, list[tuple[RunnerStatus, datetime, datetime | None]]] = {}
    for of, status, begun, ended, reasons in rows:
        if reasons == [Silence.NEVER_CONTACTED]:
            continue
        found.setdefault(of, []).append((RunnerStatus(status), begun, ended))
    return found


async def list_gaps(work: Work, runner_id: RunnerId, since: datetime) -> list[HeartbeatGap]:
    rows = await work.db.execute(
        select(HeartbeatGapRow.since, HeartbeatGapRow.until)
        .where(HeartbeatGapRow.runner_id == runner_id, HeartbeatGapRow.until > since)
        .order_by(HeartbeatGapRow.since.desc())
        .limit(MAX_HISTORY)
    )
    found = [HeartbeatGap(since=row.since, until=row.until, seconds=round((row.until - row.since).total_seconds(), 3)) for row in rows]
    return found[::-1]


async def list_said_health(work: Work, since: datetime, after: RunnerId, most: int) -> Sequence[tuple[RunnerId, dict[str, Any]]]:
    """What runners of every organization said of their health, of those heard of since then; in the order of their ids, from one on."""
    heard = (RunnerRow.id > after, RunnerRow.last_heartbeat_at > since, RunnerRow.revoked_at.is_(None))
    rows = await work.db.execute(select(RunnerRow.id, RunnerRow.health).where(*heard).order_by(RunnerRow.id).limit(most))
    return [(row.id, row.health) for row in rows]


async def keep_samples(work: Work, quarter: int, samples: Sequence[tuple[RunnerId, Sample]]) -> None:
    """Over what was there a day before, or earlier in the same quarter."""
    statement = (postgresql.insert if work.db.dialect.name == "postgresql" else sqlite.insert)(RunnerSampleRow)
    again = {name: statement.excluded[name] for name in ("quarter", *Sample._fields)}
    written = {"place": place_of(quarter), "quarter": quarter}
    await work.db.execute(
        statement.on_conflict_do_update(index_elements=["runner_id", "place"], set_=again),
        [{"runner_id": runner_id, **written, **sample._asdict()} for runner_id, sample in samples],
    )


async def list_samples(work: Work, runner_id: RunnerId, first: int, last: int) -> list[tuple[int, Sample]]:
    """By quarter, oldest first."""
    columns = [getattr(RunnerSampleRow, name) for name in Sample._fields]
    kept = (RunnerSampleRow.runner_id == runner_id, RunnerSampleRow.quarter.between(first, last))
    rows = await work.db.execute(select(RunnerSampleRow.quarter, *columns).where(*kept).order_by(RunnerSampleRow.quarter))
    return [(quarter, Sample(*numbers)) for quarter, *numbers in rows]
