"""The list of runners comes from memory, and still says what the database has: after every change, for every caller, at every time."""

from __future__ import annotations

import json
from typing import Any

import pytest
from sqlalchemy import event

from tests.server.database.crowd import crowd, put
from tests.support.clock import Clock
from tests.support.control_plane import Plane
from tests.support.people import Organization, Runner, register


async def listed(organization: Organization, **query: Any) -> list[dict[str, Any]]:
    answer = (await organization.get("/runners", params=query)).raise_for_status().json()
    assert answer["total"] == len(answer["runners"]) or query
    runners: list[dict[str, Any]] = answer["runners"]
    return runners


async def check_list(organization: Organization, runners: list[Runner]) -> None:
    """The list is what each runner's own address says, which always asks the database; its readiness says the same."""
    alone = [(await organization.get(f"/runners/{one.id}")).raise_for_status().json()["runner"] for one in runners]
    # Put together, and as it was kept.
    first, answer = [(await organization.get("/runners")).json() for _ in range(2)]
    assert first == answer
    revoked = await listed(organization, status="revoked")
    assert answer["runners"] == [one for one in alone if one["status"] != "revoked"]
    assert revoked == [one for one in alone if one["status"] == "revoked"]
    assert answer["readiness"] == (await organization.get("/runners/readiness")).json()
    summary = ("id", "name", "status", "configuredConcurrency", "currentJobs")
    assert answer["readiness"]["runners"] == [{name: one[name] for name in summary} for one in answer["runners"]]


async def test_list_after_each_kind_of_change_is_as_the_database_has_it(acme: Organization, plane: Plane, clock: Clock) -> None:
    clock.pass_by(seconds=200)
    runners = [await acme.runner(f"runner-{number}") for number in range(3)]
    first, second, third = runners
    target = await acme.target()
    await check_list(acme, runners)

    for path, body in (("pause", {"note": "kernel"}), ("resume", {}), ("drain", {"deadlineSeconds": 60}), ("resume", {})):
        (await acme.post(f"/runners/{first.id}/{path}", body)).raise_for_status()
        await check_list(acme, runners)
    (await acme.patch(f"/runners/{second.id}", {"name": "renamed", "labels": ["a"], "maxConcurrency": 1})).raise_for_status()
    await check_list(acme, runners)
    for said in ({}, {"health": {"diskFreeBytes": 1}}, {"configuredConcurrency": 4}, {"version": "0.2.0"}):
        clock.pass_by(seconds=5)
        (await second.beat(**said)).raise_for_status()
        await check_list(acme, runners)
    await acme.scan(target["id"])
    job = await first.claimed()
    await check_list(acme, runners)
    (await first.run_whole(job)).raise_for_status()
    await check_list(acme, runners)
    (await third.call("POST", "/goodbye", {})).raise_for_status()
    await check_list(acme, runners)
    clock.pass_by(seconds=5)
    await third.claim()
    await check_list(acme, runners)
    (await acme.delete(f"/runners/{third.id}")).raise_for_status()
    await check_list(acme, runners)
    answer = (await register(acme.client, await acme.enrollment_token(), name="late")).json()
    runners.append(Runner(acme.client, answer["runner"]["id"], answer["token"]))
    await check_list(acme, runners)


async def test_list_as_time_passes_is_as_the_database_has_it(acme: Organization, plane: Plane, clock: Clock) -> None:
    runners = [await acme.runner(f"runner-{number}") for number in range(2)]
    until = "2026-05-03T09:16:02Z"
    (await acme.post(f"/runners/{runners[0].id}/pause", {"until": until})).raise_for_status()

    for _ in range(70):
        clock.pass_by(seconds=1.75)
        await check_list(acme, runners)

    assert {one["status"] for one in await listed(acme)} == {"offline"}
    clock.pass_by(seconds=-100)
    await check_list(acme, runners)


async def test_list_of_an_organization_shows_nobody_elses_runners(acme: Organization, other: Organization, clock: Clock) -> None:
    assert (await listed(acme), await listed(other)) == ([], [])

    mine, theirs = await acme.runner(), await other.runner()
    (await acme.post(f"/runners/{mine.id}/pause")).raise_for_status()
    await theirs.beat()

    await check_list(acme, [mine])
    await check_list(other, [theirs])


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"status": "online"}, ["alpha", "beta"]),
        ({"status": "offline"}, []),
        ({"label": "west"}, ["beta"]),
        ({"name": "ALPH"}, ["alpha"]),
        ({"page": 2, "limit": 1}, ["beta"]),
        ({"limit": 1}, ["alpha"]),
        ({"page": 3}, []),
    ],
)
async def test_list_by_filters_stays_right_after_a_change(acme: Organization, query: dict[str, Any], expected: list[str]) -> None:
    await acme.runner("alpha")
    beta = await acme.runner("beta")
    await listed(acme, **query)

    (await acme.patch(f"/runners/{beta.id}", {"labels": ["west"]})).raise_for_status()

    assert [one["name"] for one in await listed(acme, **query)] == expected


async def test_list_that_a_client_has_is_not_sent_again_until_it_changes(acme: Organization, runner: Runner, clock: Clock) -> None:
    known = await acme.get("/runners")
    again = await acme.get("/runners", headers={"if-none-match": known.headers["etag"]})

    clock.pass_by(seconds=5)
    (await runner.beat()).raise_for_status()
    changed = await acme.get("/runners", headers={"if-none-match": known.headers["etag"]})

    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", known.headers["etag"])
    assert again.headers["cache-control"] == "private, no-cache"
    assert (changed.status_code, changed.headers["etag"] != known.headers["etag"]) == (200, True)


async def test_list_of_thousands_reads_again_only_what_has_changed(acme: Organization, plane: Plane, clock: Clock) -> None:
    runner = await acme.runner("one")
    async with plane.resources.database.writing() as work:
        await put(work, crowd(acme.id, 2_000, last_heartbeat_at=clock.now, last_contact_at=clock.now, created_at=clock.now))
    assert len(await listed(acme)) == 2_001
    rows: list[int] = []

    def note(_: object, __: object, statement: str, parameters: Any, ___: object, ____: object) -> None:
        if "live_leases" in statement:
            rows.append(len(json.dumps(parameters, default=str)))

    event.listen(plane.resources.database.aside.sync_engine, "before_cursor_execute", note)
    await listed(acme)
    unchanged, rows[:] = list(rows), []
    (await acme.post(f"/runners/{runner.id}/pause")).raise_for_status()
    paused = [one["name"] for one in await listed(acme) if one["adminState"] == "paused"]

    assert unchanged == []
    assert paused == ["one"]
    # One statement that names two runners at most, not two thousand.
    assert [size < 300 for size in rows] == [True]
