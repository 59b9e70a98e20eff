"""What becomes of each run of a schedule: started, queued, caught up or skipped, once, and with its reason."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

from apviso.protocol.wire import OrganizationId
from apviso.server.licensing import store as licenses
from apviso.server.schedules.duties import run_schedules
from tests.server.schedules.test_schedules import DAILY, made
from tests.server.stream.reading import following
from tests.support.clock import Clock
from tests.support.control_plane import Plane, on_a_socket
from tests.support.people import Organization, Runner

WEEK = timedelta(weeks=1)


async def runs_of(organization: Organization, schedule: dict[str, Any], limit: int = 100) -> list[dict[str, Any]]:
    """Oldest first."""
    answer = await organization.get(f"/schedules/{schedule['id']}/runs?limit={limit}")
    runs: list[dict[str, Any]] = answer.raise_for_status().json()["runs"]
    return runs[::-1]


def told(runs: list[dict[str, Any]]) -> list[tuple[str, str, str | None]]:
    return [(run["dueAt"], run["outcome"], run["reasonCode"]) for run in runs]


async def test_run_that_is_due_starts_a_scan(acme: Organization, runner: Runner, plane: Plane, clock: Clock) -> None:
    target = await acme.target()
    schedule = await made(acme, target["id"], modelPreset="high", runnerId=runner.id, **DAILY)
    clock.now = datetime(2026, 5, 4, 2, 0, 1, tzinfo=UTC)
    await runner.beat()

    await plane.settle()

    (run,) = await runs_of(acme, schedule)
    job = await runner.claimed()
    assert run == {
        "dueAt": "2026-05-04T02:00:00Z",
        "judgedAt": "2026-05-04T02:00:01Z",
        "outcome": "started",
        "reasonCode": None,
        "reason": "Started when it was due.",
        "scanId": job["scan"]["id"],
    }
    assert (job["scan"]["modelPreset"], job["target"]["id"]) == ("high", target["id"])
    shown = (await acme.get(f"/schedules/{schedule['id']}")).json()["schedule"]
    assert (shown["nextRunAt"], shown["lastRun"]) == ("2026-05-05T02:00:00Z", run)
    assert (await acme.get("/schedules")).json()["schedules"][0]["lastRun"] == run
    events = (await acme.get(f"/audit-events?subjectId={run['scanId']}")).json()["auditEvents"]
    assert events[-1]["actor"] == f"schedule:{schedule['id']}"


async def test_run_without_a_runner_waits_or_is_skipped_with_the_blocker(acme: Organization, plane: Plane, clock: Clock) -> None:
    waits = await made(acme, (await acme.target("localhost:1"))["id"], **DAILY)
    gives_up = await made(acme, (await acme.target("localhost:2"))["id"], whenUnavailable="reject", **DAILY)
    clock.now = datetime(2026, 5, 4, 2, 0, tzinfo=UTC)

    await plane.settle()

    (waiting,), (skipped,) = await runs_of(acme, waits), await runs_of(acme, gives_up)
    assert told([waiting, skipped]) == [
        ("2026-05-04T02:00:00Z", "queued", "runner_registered"),
        ("2026-05-04T02:00:00Z", "skipped", "runner_registered"),
    ]
    assert waiting["reason"] == "The scan waits: No runner is registered."
    assert (skipped["reason"], skipped["scanId"]) == ("No runner is registered.", None)


async def test_run_without_a_license_fails_with_the_reason(acme: Organization, runner: Runner, plane: Plane, clock: Clock) -> None:
    schedule = await made(acme, (await acme.target())["id"])
    async with plane.resources.database.writing() as work:
        await licenses.install(work, OrganizationId(acme.id), "not signed by anyone")
    clock.now = datetime(2026, 5, 4, 2, 0, tzinfo=UTC)

    await plane.settle()

    assert told(await runs_of(acme, schedule)) == [("2026-05-04T02:00:00Z", "failed", "license_inactive")]


async def test_run_is_told_on_the_live_stream(acme: Organization, plane: Plane, clock: Clock) -> None:
    schedule = await made(acme, (await acme.target())["id"])
    for _ in range(2):
        clock.pass_by(days=1)
        await plane.settle()

    async with on_a_socket(plane) as client, following(client, "/api/v1/events", acme.key, **{"last-event-id": "0"}) as stream:
        seen = await stream.take(2)

    assert [(event.type, event.data["scheduleId"], event.data["reasonCode"]) for event in seen] == [
        ("schedule.skipped", schedule["id"], "server_down")
    ] * 2


async def test_run_judged_by_two_at_once_starts_one_scan(acme: Organization, plane: Plane, clock: Clock) -> None:
    schedules = [await made(acme, (await acme.target(f"localhost:{port}"))["id"]) for port in range(1, 6)]
    clock.now = datetime(2026, 5, 4, 2, 0, tzinfo=UTC)
    turn = plane.resources.database.writing

    await asyncio.gather(*(run_schedules(turn, plane.resources) for _ in range(4)))

    assert [len(await runs_of(acme, schedule)) for schedule in schedules] == [1] * 5
    assert (await acme.get("/scans")).json()["total"] == 5


async def test_run_is_not_repeated_when_the_clock_goes_back(acme: Organization, runner: Runner, plane: Plane, clock: Clock) -> None:
    schedule = await made(acme, (await acme.target())["id"])
    clock.now = datetime(2026, 5, 4, 2, 0, 30, tzinfo=UTC)
    await runner.beat()
    await plane.settle()
    await runner.run_whole(await runner.claimed())

    for hours in (-0.01, -1):
        clock.pass_by(hours=hours)
        await plane.settle()
    clock.now = datetime(2026, 5, 4, 2, 0, 10, tzinfo=UTC)
    await runner.beat()
    await plane.settle()
    again = (await acme.get("/scans")).json()["total"]
    clock.now = datetime(2026, 5, 5, 2, 0, tzinfo=UTC)
    await plane.settle()

    assert again == 1
    assert told(await runs_of(acme, schedule)) == [
        ("2026-05-04T02:00:00Z", "started", None),
        ("2026-05-05T02:00:00Z", "queued", "runner_online"),
    ]


async def test_clock_that_was_ahead_by_a_year_does_not_put_runs_off_for_one(acme: Organization, plane: Plane, clock: Clock) -> None:
    schedule = await made(acme, (await acme.target())["id"])
    clock.pass_by(days=365)
    await plane.settle()
    clock.pass_by(days=-365)

    await plane.settle()

    assert (await acme.get(f"/schedules/{schedule['id']}")).json()["schedule"]["nextRunAt"] == "2026-05-04T02:00:00Z"


async def test_runs_missed_while_the_server_slept_are_caught_up_once(
    acme: Organization, runner: Runner, plane: Plane, clock: Clock
) -> None:
    schedule = await made(acme, (await acme.target())["id"], ifMissed="catch_up", **DAILY)
    clock.now = datetime(2026, 5, 6, 9, 0, tzinfo=UTC)
    await runner.beat()

    await plane.settle()
    await plane.settle()

    assert told(await runs_of(acme, schedule)) == [
        ("2026-05-04T02:00:00Z", "skipped", "caught_up_later"),
        ("2026-05-05T02:00:00Z", "skipped", "caught_up_later"),
        ("2026-05-06T02:00:00Z", "caught_up", None),
    ]
    assert (await acme.get("/scans")).json()["total"] == 1


async def test_run_that_finds_its_target_busy_is_caught_up_when_it_is_free_if_that_is_wanted(
    acme: Organization, runner: Runner, plane: Plane, clock: Clock
) -> None:
    targets = [await acme.target(f"localhost:{port}") for port in (1, 2)]
    caught_up, skipped = [
        await made(acme, target["id"], ifMissed=policy, **DAILY) for target, policy in zip(targets, ("catch_up", "skip"), strict=True)
    ]
    scans = [(await acme.scan(target["id"]))["scan"]["id"] for target in targets]
    clock.now = datetime(2026, 5, 4, 2, 0, tzinfo=UTC)
    await plane.settle()
    (missed,) = await runs_of(acme, caught_up)
    for _ in range(3):
        clock.pass_by(minutes=1)
        await plane.settle()
        for scan in scans:
            await acme.post(f"/scans/{scan}/cancel")

    (run,), (other,) = await runs_of(acme, caught_up), await runs_of(acme, skipped)
    events = [data for kind, data in await plane.told() if kind.startswith("schedule.") and data["scheduleId"] == caught_up["id"]]
    assert told([missed, other]) == [("2026-05-04T02:00:00Z", "skipped", "scan_already_active")] * 2
    assert missed["reason"].endswith("It is caught up once that is over, unless the next run comes first.")
    assert (run["dueAt"], run["outcome"], run["judgedAt"]) == (missed["dueAt"], "caught_up", "2026-05-04T02:02:00Z")
    assert [(event["outcome"], event["scanId"]) for event in events] == [("skipped", None), ("caught_up", run["scanId"])]
    assert (await acme.get("/scans")).json()["total"] == 3


async def test_run_that_found_no_runner_or_license_is_caught_up_unless_the_next_one_comes_first(
    acme: Organization, runner: Runner, plane: Plane, clock: Clock
) -> None:
    schedule = await made(acme, (await acme.target())["id"], ifMissed="catch_up", whenUnavailable="reject", **DAILY)
    async with plane.resources.database.writing() as work:
        await licenses.install(work, OrganizationId(acme.id), "not signed by anyone")
    clock.now = datetime(2026, 5, 4, 2, 0, tzinfo=UTC)
    await plane.settle()
    async with plane.resources.database.writing() as work:
        await work.db.exec_driver_sql("DELETE FROM licenses")
    clock.now = datetime(2026, 5, 5, 2, 0, tzinfo=UTC)
    await plane.settle()

    clock.pass_by(hours=3)
    await runner.beat()
    await plane.settle()

    assert told(await runs_of(acme, schedule)) == [
        ("2026-05-04T02:00:00Z", "failed", "license_inactive"),
        ("2026-05-05T02:00:00Z", "caught_up", None),
    ]
    assert (await acme.get("/scans")).json()["total"] == 1


async def test_run_that_finds_the_scan_of_the_run_before_it_is_not_owed(acme: Organization, plane: Plane, clock: Clock) -> None:
    schedule = await made(acme, (await acme.target())["id"], ifMissed="catch_up", **DAILY)
    for hour in (2, 2 + 22):
        clock.now = datetime(2026, 5, 4, tzinfo=UTC) + timedelta(hours=hour)
        await plane.settle()
    patched = (await acme.patch(f"/schedules/{schedule['id']}", {"hour": 1})).raise_for_status()
    clock.now = datetime(2026, 5, 5, 1, 0, tzinfo=UTC)
    await plane.settle()
    (scan,) = (await acme.get("/scans")).json()["scans"]
    await acme.post(f"/scans/{scan['id']}/cancel")

    clock.pass_by(minutes=10)
    await plane.settle()

    assert patched.json()["schedule"]["nextRunAt"] == "2026-05-05T01:00:00Z"
    assert [run["outcome"] for run in await runs_of(acme, schedule)] == ["queued", "skipped"]
    assert (await acme.get("/scans")).json()["total"] == 1


async def test_schedule_that_cannot_be_judged_holds_up_no_other(acme: Organization, plane: Plane, clock: Clock) -> None:
    broken, sound = [await made(acme, (await acme.target(f"localhost:{port}"))["id"]) for port in (1, 2)]
    async with plane.resources.database.writing() as work:
        await work.db.exec_driver_sql(f"UPDATE schedules SET model_preset = 'best' WHERE id = '{broken['id']}'")
    clock.now = datetime(2026, 5, 4, 2, 0, tzinfo=UTC)

    await plane.settle()

    assert told(await runs_of(acme, sound)) == [("2026-05-04T02:00:00Z", "queued", "runner_registered")]


# ---- a year


async def test_year_of_a_schedule_is_explained_run_by_run(acme: Organization, runner: Runner, plane: Plane, clock: Clock) -> None:
    """Every second Sunday at 02:30 in Berlin, also when the clocks change there, with a server that sleeps and a runner that is away."""
    target = await acme.target()
    every = {"frequency": "biweekly", "dayOfWeek": 0, "hour": 2, "minute": 30, "timeZone": "Europe/Berlin"}
    schedule = await made(acme, target["id"], whenUnavailable="reject", **every)
    expected: list[tuple[str, str, str | None]] = []

    for week in range(0, 52, 2):
        clock.now = _sunday(week) + timedelta(seconds=2)
        said = _sunday(week).strftime("%Y-%m-%dT%H:%M:%SZ")
        match week:
            case 6 | 8 | 10:
                expected.append((said, "skipped", "server_down"))
                continue
            case 12:
                # The server wakes up just before the next run: what it missed it accounts for, and then it is as if it had not slept.
                clock.pass_by(hours=-1)
                await plane.settle()
                clock.pass_by(hours=1)
            case 20 | 22:
                expected.append((said, "skipped", "runner_online"))
                await plane.settle()
                continue
            case 30:
                expected.append((said, "skipped", "scan_already_active"))
                await acme.scan(target["id"])
            case 40 | 42:
                await acme.patch(f"/schedules/{schedule['id']}", {"enabled": week == 42})
                await plane.settle()
                continue
        await runner.beat()
        await plane.settle()
        (await runner.on_job(await runner.claimed(), "preflight", ok=False)).raise_for_status()
        if week != 30:
            expected.append((said, "started", None))

    runs = await runs_of(acme, schedule)
    assert told(runs) == expected
    assert all(run["reason"] for run in runs)
    assert len({run["scanId"] for run in runs if run["scanId"]}) == sum(outcome == "started" for _, outcome, _ in expected) == 18
    assert (await acme.get("/scans")).json()["total"] == 19


def _sunday(week: int) -> datetime:
    """02:30 in Berlin: the first of two in October, and 03:00 on the day in March that has none."""
    day = datetime(2026, 5, 10, tzinfo=UTC) + week * WEEK
    if day.date().isoformat() == "2027-03-28":
        return day.replace(hour=1)
    is_winter = datetime(2026, 10, 26, tzinfo=UTC) <= day < datetime(2027, 3, 28, tzinfo=UTC)
    return day.replace(hour=1 if is_winter else 0, minute=30)
