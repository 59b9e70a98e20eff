"""Schedules over HTTP: how they are made, seen, changed and deleted."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from tests.support.clock import Clock
from tests.support.control_plane import Plane
from tests.support.people import Organization, Runner

DAILY = {"frequency": "daily", "hour": 2}


async def made(organization: Organization, target_id: str, **told: Any) -> dict[str, Any]:
    answer = await organization.post("/schedules", {"targetId": target_id, **(told or DAILY)})
    schedule: dict[str, Any] = answer.raise_for_status().json()["schedule"]
    return schedule


async def test_schedule_made_is_shown_with_its_next_runs(acme: Organization) -> None:
    target = await acme.target()

    answer = await acme.post("/schedules", {"targetId": target["id"], "frequency": "weekly", "hour": 2, "minute": 30, "dayOfWeek": 0})

    assert answer.status_code == 201
    schedule = answer.json()["schedule"]
    weeks = [f"2026-{day}T02:30:00Z" for day in ("05-10", "05-17", "05-24", "05-31", "06-07")]
    assert schedule == {
        "id": schedule["id"],
        "targetId": target["id"],
        "runnerId": None,
        "frequency": "weekly",
        "hour": 2,
        "minute": 30,
        "dayOfWeek": 0,
        "dayOfMonth": None,
        "cron": None,
        "timeZone": "UTC",
        "modelPreset": "low",
        "whenUnavailable": "queue",
        "ifMissed": "skip",
        "enabled": True,
        "nextRunAt": weeks[0],
        "nextRuns": weeks,
        "createdAt": "2026-05-03T09:15:32Z",
        "lastRun": None,
    }
    assert (await acme.get(f"/schedules/{schedule['id']}")).json()["schedule"] == schedule
    listed = (await acme.get("/schedules")).json()
    del schedule["nextRuns"]
    assert listed == {"schedules": [schedule], "total": 1, "page": 1, "limit": 50, "totalPages": 1}


async def test_schedule_with_cron_and_time_zone_is_due_by_its_clocks(acme: Organization) -> None:
    target = await acme.target()

    schedule = await made(acme, target["id"], cron="30 2 * * MON-FRI", timeZone="Europe/Berlin")

    assert schedule["nextRuns"][:2] == ["2026-05-04T00:30:00Z", "2026-05-05T00:30:00Z"]


BAD: list[tuple[dict[str, Any], str]] = [
    ({}, "frequency"),
    ({"frequency": "daily"}, "hour"),
    ({"frequency": "hourly", "hour": 2}, "frequency"),
    ({"frequency": "daily", "hour": 24}, "hour"),
    ({"frequency": "weekly", "hour": 2, "dayOfWeek": 7}, "dayOfWeek"),
    ({"frequency": "monthly", "hour": 2, "dayOfMonth": 29}, "dayOfMonth"),
    ({"frequency": "daily", "hour": 2, "cron": "0 2 * * *"}, "frequency"),
    ({"cron": "* * * * *"}, "cron"),
    ({"cron": "0 2 30 2 *"}, "cron"),
    ({**DAILY, "timeZone": "Europe/Atlantis"}, "timeZone"),
    ({**DAILY, "timeZone": "../../etc/passwd"}, "timeZone"),
    ({**DAILY, "modelPreset": "best"}, "modelPreset"),
    ({**DAILY, "ifMissed": "maybe"}, "ifMissed"),
]


async def test_schedule_that_is_none_is_refused_by_its_field(acme: Organization) -> None:
    target = await acme.target()

    refused = [await acme.post("/schedules", {"targetId": target["id"], **told}) for told, _ in BAD]

    assert {(answer.status_code, answer.json()["code"]) for answer in refused} == {(422, "invalid_fields")}
    assert [answer.json()["errors"][0]["field"] for answer in refused] == [field for _, field in BAD]


async def test_schedule_repeated_with_an_idempotency_key_is_made_once(acme: Organization) -> None:
    body = {"targetId": (await acme.target())["id"], **DAILY}

    first = await acme.post("/schedules", body, headers={"Idempotency-Key": "once"})
    second = await acme.post("/schedules", body, headers={"Idempotency-Key": "once"})

    assert (first.status_code, second.status_code) == (201, 201)
    assert first.json() == second.json()
    assert (await acme.get("/schedules")).json()["total"] == 1


async def test_schedules_of_one_target_have_a_bound(acme: Organization) -> None:
    target = await acme.target()
    for _ in range(20):
        await made(acme, target["id"])

    refused = await acme.post("/schedules", {"targetId": target["id"], **DAILY})

    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "targetId")


async def test_schedule_of_another_organization_is_not_found(acme: Organization, other: Organization, runner: Runner) -> None:
    target, own = await acme.target(), await other.target()
    schedule = await made(acme, target["id"])
    place = f"/schedules/{schedule['id']}"

    asked = [
        await other.get(place),
        await other.patch(place, {"enabled": False}),
        await other.delete(place),
        await other.get(f"{place}/runs"),
        await other.post("/schedules", {"targetId": target["id"], **DAILY}),
        await other.post("/schedules", {"targetId": own["id"], "runnerId": runner.id, **DAILY}),
    ]

    codes = [answer.json()["code"] for answer in asked]
    assert codes == [*["schedule_not_found"] * 4, "target_not_found", "runner_not_found"]
    assert (await other.get("/schedules")).json()["total"] == 0


async def test_schedule_changed_is_due_anew(acme: Organization, clock: Clock) -> None:
    target = await acme.target()
    schedule = await made(acme, target["id"])
    place = f"/schedules/{schedule['id']}"

    later = (await acme.patch(place, {"hour": 12})).json()["schedule"]
    by_cron = (await acme.patch(place, {"cron": "0 4 * * *"})).json()["schedule"]
    by_frequency = (await acme.patch(place, {"frequency": "monthly", "hour": 5, "dayOfMonth": 7})).json()["schedule"]
    refused = await acme.patch(place, {"timeZone": "Europe/Atlantis"})
    nothing = await acme.patch(place, {"hour": None})

    assert (schedule["nextRunAt"], later["nextRunAt"]) == ("2026-05-04T02:00:00Z", "2026-05-03T12:00:00Z")
    assert (by_cron["frequency"], by_cron["hour"], by_cron["nextRunAt"]) == (None, None, "2026-05-04T04:00:00Z")
    assert (by_frequency["cron"], by_frequency["nextRunAt"]) == (None, "2026-05-07T05:00:00Z")
    assert [answer.json()["errors"][0]["field"] for answer in (refused, nothing)] == ["timeZone", "hour"]


async def test_schedule_switched_off_is_never_due_and_on_again_from_then_on(acme: Organization, plane: Plane, clock: Clock) -> None:
    schedule = await made(acme, (await acme.target())["id"])
    place = f"/schedules/{schedule['id']}"
    off = (await acme.patch(place, {"enabled": False})).json()["schedule"]
    clock.pass_by(days=3)
    await plane.settle()

    on = (await acme.patch(place, {"enabled": True})).json()["schedule"]

    assert (off["nextRunAt"], off["nextRuns"]) == (None, [])
    assert on["nextRunAt"] == "2026-05-07T02:00:00Z"
    assert (await acme.get(f"{place}/runs")).json()["total"] == 0


async def test_schedule_of_a_deleted_target_is_gone(acme: Organization, plane: Plane, clock: Clock) -> None:
    target = await acme.target()
    schedule = await made(acme, target["id"], whenUnavailable="reject", **DAILY)
    clock.pass_by(days=1)
    await plane.settle()
    (await acme.delete(f"/targets/{target['id']}")).raise_for_status()
    clock.pass_by(days=1)

    await plane.settle()

    assert (await acme.get(f"/schedules/{schedule['id']}")).json()["code"] == "schedule_not_found"
    assert (await acme.get("/schedules")).json()["total"] == 0


async def test_schedule_deleted_takes_its_account_with_it_and_is_audited(acme: Organization, plane: Plane, clock: Clock) -> None:
    schedule = await made(acme, (await acme.target())["id"])
    clock.now = datetime(2026, 5, 4, 2, 0, tzinfo=UTC)
    await plane.settle()

    deleted = await acme.delete(f"/schedules/{schedule['id']}")

    assert deleted.status_code == 204
    assert (await acme.get(f"/schedules/{schedule['id']}/runs")).status_code == 404
    assert (await acme.get("/scans")).json()["total"] == 1
    told = (await acme.get(f"/audit-events?subjectId={schedule['id']}")).json()["auditEvents"]
    assert [event["action"] for event in told] == ["schedule.deleted", "schedule.triggered", "schedule.created"]
