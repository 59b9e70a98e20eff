"""Heartbeats that are written many at once: each row gets its own, and nothing that is newer is lost."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text

from apviso.server.fastlane import BEATS_AT_ONCE, write_beats
from apviso.server.runners import store
from apviso.server.runners.facts import RunnerFacts
from tests.server.database.crowd import crowd, put
from tests.support.clock import Clock
from tests.support.control_plane import Plane
from tests.support.people import Organization


async def _kept(plane: Plane, runners: list[RunnerFacts]) -> list[RunnerFacts]:
    async with plane.resources.database.reading() as work:
        found = await store.list_by_id(work, runners[0].organization_id, [one.id for one in runners])
    # How they were noted to stand is the watch's, which has its first round at any time after the start.
    return [replace(found[one.id], observed_status=one.observed_status, observed_reasons=one.observed_reasons) for one in runners]


async def _put(plane: Plane, runners: list[RunnerFacts]) -> None:
    async with plane.resources.database.writing() as work:
        await put(work, runners)


async def _write(plane: Plane, runners: list[RunnerFacts]) -> None:
    async with plane.resources.database.writing() as work:
        await store.record_beats(work, store.answered(runners))


async def test_heartbeats_written_together_are_each_in_their_own_row(acme: Organization, plane: Plane, clock: Clock) -> None:
    before = crowd(acme.id, 50, last_heartbeat_at=clock.now, last_contact_at=clock.now, created_at=clock.now)
    await _put(plane, before)
    # Times with and without a fraction of a second, health of any kind, and a claim poll that is not told.
    after = [
        replace(
            one,
            beat_seq=2 + number,
            claim_poll_age_ms=None if number % 3 == 0 else 2**40 + number,
            health={"faults": ["ü", "'", '"', "\\"], "diskFreeBytes": number, "nested": {"a": [None, 1.5, True]}} if number % 2 else {},
            last_heartbeat_at=clock.now + timedelta(milliseconds=500 * number),
            last_contact_at=clock.now + timedelta(milliseconds=500 * number),
        )
        for number, one in enumerate(before)
    ]

    await _write(plane, list(reversed(after)))

    assert await _kept(plane, before) == after


@pytest.mark.parametrize(
    ("kept", "is_written"),
    [
        ({}, True),
        ({"beat_seq": 5}, False),
        ({"beat_seq": 6}, False),
        ({"boot_id": "boot-2"}, False),
        ({"boot_id": None}, False),
        ({"revoked_at": timedelta()}, False),
        ({"goodbye_at": timedelta()}, False),
    ],
)
async def test_heartbeat_written_late_changes_nothing_newer(
    acme: Organization, plane: Plane, clock: Clock, kept: dict[str, Any], is_written: bool
) -> None:
    known = {name: clock.now + value if isinstance(value, timedelta) else value for name, value in kept.items()}
    (before,) = crowd(acme.id, 1, **{"last_heartbeat_at": clock.now, "last_contact_at": clock.now, "beat_seq": 4, **known})
    await _put(plane, [before])
    later = clock.now + timedelta(seconds=1)
    told = replace(before, boot_id="boot-1", beat_seq=5, health={"diskFreeBytes": 7}, last_heartbeat_at=later, last_contact_at=later)

    await _write(plane, [told])

    assert await _kept(plane, [before]) == [told if is_written else before]


async def test_contact_after_a_heartbeat_that_is_written_late_stays(acme: Organization, plane: Plane, clock: Clock) -> None:
    contact = clock.now + timedelta(seconds=2)
    (before,) = crowd(acme.id, 1, last_heartbeat_at=clock.now, last_contact_at=contact)
    await _put(plane, [before])
    told = replace(before, beat_seq=5, last_heartbeat_at=clock.now + timedelta(seconds=1))

    await _write(plane, [replace(told, last_contact_at=told.last_heartbeat_at)])

    assert await _kept(plane, [before]) == [told]


async def test_more_heartbeats_than_one_transaction_writes_are_all_written(acme: Organization, plane: Plane, clock: Clock) -> None:
    # Of a table without statistics, whose plan must not be a bad one.
    before = crowd(acme.id, 4 * BEATS_AT_ONCE + 3, last_heartbeat_at=clock.now, last_contact_at=clock.now)
    await _put(plane, before)
    for one in before:
        plane.resources.beats.note(f"prefix-{one.id}", one.id, None, replace(one, beat_seq=9))

    await write_beats(plane.resources)

    async with plane.resources.database.reading() as work:
        written = await work.db.scalar(text("SELECT count(*) FROM runners WHERE beat_seq = 9"))
    assert written == len(before)
    assert plane.resources.beats.take_unwritten() == {}
