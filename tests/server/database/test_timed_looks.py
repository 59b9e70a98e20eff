"""The timed duties ask the database for what may be due alone: nothing that a rule would change is left out."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st
from sqlalchemy import insert, select, text

from apviso.protocol.states import LEASED_STATUSES, AdminState, RunnerStatus, ScanStatus
from apviso.protocol.wire import OrganizationId
from apviso.server import housekeeping
from apviso.server.db.engine import Database, Work
from apviso.server.db.schema import AttemptRow, OrganizationRow, ScanRow, TargetRow
from apviso.server.db.upgrade import upgrade
from apviso.server.metrics import DUTY_SECONDS
from apviso.server.resources import Wanted
from apviso.server.runners.facts import RunnerFacts
from apviso.server.runners.presence import PresencePolicy, presence_of
from apviso.server.runners.store import list_unsettled
from apviso.server.scans.facts import AttemptFacts, ScanFacts
from apviso.server.scans.lifecycle import due
from apviso.server.scans.store import list_overdue
from apviso.server.signals import Signals
from tests.server.database.crowd import crowd, put, renamed
from tests.support.clock import Clock
from tests.support.control_plane import Plane
from tests.support.people import Organization
from tests.unit.known import NOW, TIMERS, attempt, runner, scan, seconds

ON_A_DATABASE = examples(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
# Around every limit of presence, to the second.
ages = st.sampled_from([0, 1, 34, 35, 36, 59, 60, 61, 90, 299, 300, 301, 5000]).map(seconds)
moments = ages.map(lambda age: NOW - age)
maybe = st.none() | moments
admin = st.sampled_from(AdminState)
# What changes without a heartbeat that is noted at once: calls, goodbyes, leases, administrators, and beats that were written behind.
changes = st.fixed_dictionaries(
    {},
    optional={
        "last_contact_at": maybe,
        "last_heartbeat_at": maybe,
        "goodbye_at": maybe,
        "duplicate_seen_at": maybe,
        "revoked_at": maybe,
        "claim_poll_age_ms": st.sampled_from([None, 0, 90_000, 90_001, 10**9]),
        "admin_state": admin,
        "admin_until": st.none() | st.sampled_from([NOW - seconds(1), NOW, NOW + seconds(1)]),
        "configured_concurrency": st.integers(1, 3),
        "max_concurrency": st.none() | st.integers(1, 3),
        "ephemeral": st.booleans(),
        "live_leases": st.integers(0, 3),
    },
)
told = st.fixed_dictionaries(
    {},
    optional={
        "version": st.sampled_from(["0.1.0", "0.0.1"]),
        "health": st.sampled_from([{}, {"diskFreeBytes": 1}, {"clockSkewMs": 10**6}]),
    },
)
amnesties = st.sampled_from([NOW - seconds(1), NOW + seconds(1)])


def _noted(one: RunnerFacts, policy: PresencePolicy, is_known: bool) -> RunnerFacts:
    presence = presence_of(replace(one, observed_status=None), NOW, policy)
    return replace(
        one, observed_status=presence.status if is_known else None, observed_reasons=list(presence.reasons) if is_known else None
    )


def _is_as_noted(one: RunnerFacts, policy: PresencePolicy) -> bool:
    presence = presence_of(one, NOW, policy)
    return (presence.status, list(presence.reasons)) == (one.observed_status, one.observed_reasons)


@pytest.fixture
def database(database_url: str) -> Iterator[tuple[asyncio.Runner, Database]]:
    """A database with one organization, and a loop of its own for a test that hypothesis runs many times."""
    with asyncio.Runner() as loop:
        opened = Database(database_url, lambda: NOW, Signals())

        async def prepare() -> None:
            await upgrade(database_url)
            async with opened.writing() as work:
                await work.db.execute(insert(OrganizationRow).values(id="acme", name="Acme", requires_verification=True, created_at=NOW))

        loop.run(prepare())
        yield loop, opened
        loop.run(opened.close())


async def _unsettled(database: Database, runners: list[RunnerFacts], policy: PresencePolicy) -> set[str]:
    # Which leaves nothing.
    async with database.reading() as work:
        await put(work, runners)
        return set(await list_unsettled(work, policy))


@ON_A_DATABASE
@given(st.lists(st.tuples(changes, changes, told, st.booleans()), min_size=1, max_size=12), amnesties, amnesties)
def test_runner_that_stands_differently_from_what_was_noted_is_found(
    database: tuple[asyncio.Runner, Database],
    drawn: list[tuple[dict[str, Any], dict[str, Any], dict[str, Any], bool]],
    amnesty_then: datetime,
    amnesty_now: datetime,
) -> None:
    loop, opened = database
    then, policy = PresencePolicy(TIMERS, amnesty_then, "0.1.0"), PresencePolicy(TIMERS, amnesty_now, "0.1.0")
    runners = [
        renamed(replace(_noted(runner(**before, **said), then, is_known), **after), number, "acme")
        for number, (before, after, said, is_known) in enumerate(drawn, start=1)
    ]

    found = loop.run(_unsettled(opened, runners, policy))

    assert {one.id for one in runners if not _is_as_noted(one, policy)} <= found


@ON_A_DATABASE
@given(st.lists(st.tuples(changes, told), min_size=1, max_size=12), amnesties)
def test_runner_that_stands_as_it_was_noted_is_not_looked_at(
    database: tuple[asyncio.Runner, Database], drawn: list[tuple[dict[str, Any], dict[str, Any]]], amnesty: datetime
) -> None:
    loop, opened = database
    policy = PresencePolicy(TIMERS, amnesty, "0.1.0")
    runners = [
        renamed(_noted(runner(**facts, **said), policy, True), number, "acme") for number, (facts, said) in enumerate(drawn, start=1)
    ]

    found = loop.run(_unsettled(opened, runners, policy))

    assert found == {one.id for one in runners if not _is_as_noted(one, policy)}


scan_ages = st.sampled_from([0, 29, 59, 60, 61, 119, 120, 121, 299, 300, 301, 10_799, 10_800, 86_399, 86_400, 90_000]).map(seconds)
scan_moments = scan_ages.map(lambda age: NOW - age)
attempts = st.fixed_dictionaries(
    {
        "assigned_at": scan_moments,
        "heard_at": scan_moments,
        "renewed_at": scan_moments,
        "lease_expires_at": st.sampled_from([NOW - seconds(1), NOW, NOW + seconds(1)]),
        "started_at": st.none() | scan_moments,
        "ended_at": st.none() | scan_moments,
    }
)
scans = st.tuples(
    st.sampled_from(ScanStatus), scan_moments, st.none() | scan_ages, st.integers(0, 2), st.none() | scan_moments, st.none() | attempts
)


@ON_A_DATABASE
@given(st.lists(scans, min_size=1, max_size=12), amnesties)
def test_scan_with_a_timer_that_has_run_out_is_found(
    database: tuple[asyncio.Runner, Database], drawn: list[Any], amnesty: datetime
) -> None:
    loop, opened = database
    known: list[tuple[ScanFacts, AttemptFacts | None]] = []
    for number, (status, created_at, waited, failures, cancelled_at, lease) in enumerate(drawn):
        facts = scan(
            id=f"scan-{number}", job_id=f"job-{number}", target_id=f"target-{number}", status=status, attempt=1, created_at=created_at,
            not_before=None if waited is None else created_at + waited, infrastructure_failures=failures, cancel_requested_at=cancelled_at,
            organization_id=OrganizationId("acme"), runner_id=None,
        )  # fmt: skip
        known.append(
            (facts, None if lease is None else attempt(scan_id=facts.id, job_token_prefix=f"{number:012}", nonce=str(number), **lease))
        )
    live = [(one, held if held is not None and held.ended_at is None else None) for one, held in known]
    expected = {one.id for one, held in live if due(one, held, NOW, amnesty, TIMERS) is not None}

    found = loop.run(_overdue(opened, known, amnesty))

    # Never too few; too many only where a scan waits for its next attempt.
    assert expected <= found
    assert found - expected <= {one.id for one, _ in known if one.not_before is not None and one.status not in LEASED_STATUSES}


async def _overdue(database: Database, known: list[tuple[ScanFacts, AttemptFacts | None]], amnesty: datetime) -> set[str]:
    async with database.reading() as work:
        await put(work, [runner(organization_id=OrganizationId("acme"))])
        await _put_scans(work, known)
        return {scan_id for _, scan_id in await list_overdue(work, amnesty, TIMERS)}


async def _put_scans(work: Work, known: list[tuple[ScanFacts, AttemptFacts | None]]) -> None:
    for one, held in known:
        target = {"id": one.target_id, "organization_id": "acme", "domain": one.target_id, "display_url": "", "scan_url": ""}
        await work.db.execute(insert(TargetRow).values(**target, visibility="localhost", created_at=NOW))
        await work.db.execute(insert(ScanRow).values(**vars(one)))
        if held is not None:
            row = {**vars(held), "organization_id": "acme", "target_id": one.target_id, "job_token_sha256": ""}
            await work.db.execute(insert(AttemptRow).values(**row))


async def test_a_thousand_runners_that_vanish_are_each_told_once(acme: Organization, plane: Plane, clock: Clock) -> None:
    clock.pass_by(seconds=200)
    seen = {"last_heartbeat_at": clock.now, "last_contact_at": clock.now, "created_at": clock.now - timedelta(days=1)}
    async with plane.resources.database.writing() as work:
        await put(work, crowd(acme.id, 1_000, **seen))
    clock.pass_by(seconds=61)

    for _ in range(2):
        await plane.settle()

    async with plane.resources.database.reading() as work:
        told = list((await work.db.execute(text("SELECT data FROM stream_events WHERE type = 'runner.offline'"))).scalars())
        offline = await work.db.scalar(text("SELECT count(*) FROM runner_intervals WHERE status = 'offline' AND until IS NULL"))
    assert (len(told), len({str(data) for data in told}), offline) == (1_000, 1_000, 1_000)
    shown = await acme.get("/runners", params={"status": RunnerStatus.OFFLINE})
    assert shown.json()["total"] == 1_000


async def test_round_with_nothing_to_do_begins_no_duty_that_is_looked_for(acme: Organization, plane: Plane) -> None:
    await acme.runner()
    await plane.settle()
    before = _times_begun()

    await plane.settle()

    begun = {name for name, times in _times_begun().items() if times > before.get(name, 0)}
    assert begun == {duty.__name__ for duty in housekeeping.DUTIES} - {duty.__name__ for duty in housekeeping.WANTED}


async def test_what_one_duty_writes_is_gone_on_with_in_the_same_round(acme: Organization, plane: Plane, clock: Clock) -> None:
    await acme.post("/webhooks", {"url": "https://hooks.example.com/", "events": ["runner.offline"]})
    await acme.runner()
    await plane.settle()
    clock.pass_by(seconds=200)

    await plane.settle()

    async with plane.resources.database.reading() as work:
        assert await work.db.scalar(text("SELECT count(*) FROM webhook_deliveries")) == 1


async def test_duties_look_for_themselves_where_they_cannot_be_looked_for_together(
    acme: Organization, plane: Plane, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    await acme.runner()
    clock.pass_by(seconds=200)
    impossible: dict[housekeeping.Duty, Wanted] = {housekeeping.end_pauses: lambda _, __: (select(text("no_such_column")),)}
    monkeypatch.setattr(housekeeping, "WANTED", {**housekeeping.WANTED, **impossible})

    await plane.settle()

    assert "runner.offline" in {type_ for type_, _ in await plane.told()}


def _times_begun() -> dict[str, float]:
    samples = [sample for metric in DUTY_SECONDS.collect() for sample in metric.samples]
    return {sample.labels["duty"]: sample.value for sample in samples if sample.name.endswith("_count")}
