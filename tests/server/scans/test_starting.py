"""Starting a scan: when it is queued, when it is refused, and how a queued one says what it waits for."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import update

from apviso.server.db.schema import TargetRow
from tests.server.scans.situations import Case, found, pass_keeping_alive, queued_scan
from tests.support.clock import Clock
from tests.support.control_plane import Plane
from tests.support.in_turn import in_turn
from tests.support.people import Organization, Runner


async def test_start_without_a_runner_is_refused_with_the_checks(acme: Organization) -> None:
    target = await acme.target()

    refused = await acme.post("/scans", {"targetId": target["id"]})

    assert (refused.status_code, refused.json()["code"]) == (409, "runner_not_ready")
    readiness = (await acme.get(f"/runners/readiness?targetId={target['id']}")).json()
    assert refused.json()["readiness"] == readiness
    assert refused.json()["error"] == readiness["reason"] == "No runner is registered."
    assert (await acme.get("/scans")).json()["total"] == 0


async def test_start_without_a_runner_may_wait_and_says_for_what(acme: Organization) -> None:
    target = await acme.target()

    made = await acme.post("/scans", {"targetId": target["id"], "whenUnavailable": "queue"})

    assert made.status_code == 201
    waiting = made.json()["scan"]["waitingFor"]
    readiness = (await acme.get(f"/runners/readiness?targetId={target['id']}")).json()
    assert waiting["primaryBlocker"] == readiness["primaryBlocker"] == "runner_registered"
    assert [check for check in waiting["checks"] if check["code"] != "target_idle"] == [
        check for check in readiness["checks"] if check["code"] != "target_idle"
    ]


async def test_start_answers_scan_and_job(acme: Organization, runner: Runner) -> None:
    target = await acme.target()

    made = (await acme.post("/scans", {"targetId": target["id"], "modelPreset": "high", "runnerId": runner.id})).json()

    assert made["job"] == {
        "id": made["job"]["id"],
        "scanId": made["scan"]["id"],
        "status": "pending_runner",
        "attempt": 0,
        "runnerId": None,
    }
    assert (made["scan"]["modelPreset"], made["scan"]["status"]) == ("high", "pending_runner")
    assert made["scan"]["waitingFor"]["primaryBlocker"] is None
    assert made["scan"] == (await acme.get(f"/scans/{made['scan']['id']}")).json()["scan"]


@pytest.mark.parametrize("when", ["reject", "queue"])
async def test_start_while_a_scan_of_the_target_is_active_is_refused(case: Case, when: str) -> None:
    refused = await case.organization.post("/scans", {"targetId": case.target["id"], "whenUnavailable": when})

    assert (refused.status_code, refused.json()["code"]) == (409, "scan_already_active")


async def test_start_many_times_at_once_makes_one_scan(acme: Organization, runner: Runner) -> None:
    target = await acme.target()

    answers = await asyncio.gather(*(acme.post("/scans", {"targetId": target["id"]}) for _ in range(8)))

    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 7
    assert {answer.json()["code"] for answer in answers if answer.status_code == 409} == {"scan_already_active"}


async def test_start_repeated_with_an_idempotency_key_gives_the_same_scan(acme: Organization, runner: Runner) -> None:
    target = await acme.target()
    body, headers = {"targetId": target["id"]}, {"Idempotency-Key": "once"}

    first = await acme.post("/scans", body, headers=headers)
    second = await acme.post("/scans", body, headers=headers)

    assert (first.status_code, second.status_code) == (201, 201)
    assert first.json() == second.json()
    assert (await acme.get("/scans")).json()["total"] == 1


async def test_start_refused_under_an_idempotency_key_can_be_tried_again(acme: Organization) -> None:
    target = await acme.target()
    body, headers = {"targetId": target["id"]}, {"Idempotency-Key": "once"}
    refused = await acme.post("/scans", body, headers=headers)
    await acme.runner()

    started = await acme.post("/scans", body, headers=headers)

    assert (refused.status_code, started.status_code) == (409, 201)


async def test_start_against_an_unproved_public_target_is_refused_even_to_wait(acme: Organization, runner: Runner) -> None:
    target = await acme.target("shop.example.com", "public")

    refused = await acme.post("/scans", {"targetId": target["id"], "whenUnavailable": "queue"})

    assert (refused.status_code, refused.json()["code"]) == (403, "target_unverified")
    assert refused.json()["readiness"]["primaryBlocker"] == "target_verified"


async def test_start_against_a_proved_public_target_is_queued(acme: Organization, runner: Runner, plane: Plane) -> None:
    target = await acme.target("shop.example.com", "public")
    async with plane.resources.database.writing() as work:
        await work.db.execute(update(TargetRow).values(verified_at=work.now))

    started = await acme.post("/scans", {"targetId": target["id"]})

    assert started.status_code == 201


async def test_start_with_every_slot_taken_is_refused_or_waits(acme: Organization, runner: Runner) -> None:
    busy = await queued_scan(acme, runner)
    await busy.running()
    target = await acme.target()

    refused = await acme.post("/scans", {"targetId": target["id"]})
    queued = await acme.post("/scans", {"targetId": target["id"], "whenUnavailable": "queue"})

    assert (refused.status_code, refused.json()["code"]) == (409, "runner_not_ready")
    assert refused.json()["readiness"]["primaryBlocker"] == "runner_capacity"
    assert [listed["id"] for listed in refused.json()["readiness"]["runners"]] == [runner.id]
    assert queued.json()["scan"]["waitingFor"]["primaryBlocker"] == "runner_capacity"


async def test_start_while_an_old_attempt_may_still_run_is_refused_or_waits(case: Case, plane: Plane, clock: Clock) -> None:
    second = await case.organization.runner("runner-2")
    await case.running()
    await case.cancel()
    clock.pass_by(seconds=120)
    await plane.settle()
    await second.beat()

    refused = await case.organization.post("/scans", {"targetId": case.target["id"]})
    queued = await case.organization.post("/scans", {"targetId": case.target["id"], "whenUnavailable": "queue"})

    assert (refused.status_code, refused.json()["code"], refused.json()["primaryBlocker"]) == (409, "runner_not_ready", "target_idle")
    assert queued.status_code == 201
    waiting = queued.json()["scan"]["waitingFor"]
    assert (waiting["primaryBlocker"], waiting["estimatedStartAt"]) == ("target_idle", "2026-05-03T09:22:33Z")
    await pass_keeping_alive(clock, 180, second)
    assert (await second.claimed())["scan"]["id"] == queued.json()["scan"]["id"]


@in_turn(
    ("change", "status", "code"),
    [
        ({"targetId": "unknown"}, 404, "target_not_found"),
        ({"runnerId": "unknown"}, 404, "runner_not_found"),
        ({"parentScanId": "unknown"}, 404, "scan_not_found"),
        ({"isRetest": True}, 422, "invalid_fields"),
        ({"isRetest": True, "findingIds": ["unknown"]}, 422, "invalid_fields"),
        ({"modelPreset": "best"}, 422, "invalid_fields"),
        ({"whenUnavailable": "maybe"}, 422, "invalid_fields"),
        ({"targetId": ""}, 422, "invalid_fields"),
    ],
)
async def test_start_with_a_bad_member_is_refused(
    case: Case, acme: Organization, change: dict[str, object], status: int, code: str
) -> None:
    refused = await acme.post("/scans", {"targetId": case.target["id"], **change})

    assert (refused.status_code, refused.json()["code"]) == (status, code)


async def test_start_names_of_another_organization_are_not_found(case: Case, other: Organization) -> None:
    mine = await other.target()
    bodies = [{"targetId": case.target["id"]}, {"targetId": mine["id"], "runnerId": case.runner.id}]

    refused = [await other.post("/scans", {**body, "whenUnavailable": "queue"}) for body in bodies]

    assert [answer.json()["code"] for answer in refused] == ["target_not_found", "runner_not_found"]


async def test_retest_of_a_scan_carries_its_findings_to_the_runner(case: Case) -> None:
    job = await case.running()
    await case.runner.on_job(job, "events", events=[found(1)])
    await case.runner.on_job(job, "finish", status="completed", endReason="completed", lastSeq=1)
    finding = (await case.organization.get(f"/scans/{case.scan_id}/findings")).json()["findings"][0]
    body = {"targetId": case.target["id"], "isRetest": True, "parentScanId": case.scan_id, "findingIds": [finding["id"]]}

    made = (await case.organization.post("/scans", body)).json()["scan"]

    assert (made["isRetest"], made["parentScanId"], made["findingIds"]) == (True, case.scan_id, [finding["id"]])
    assert (await case.runner.claimed())["scan"] == {"id": made["id"], "modelPreset": "low", "isRetest": True, "retestFindings": [finding]}


async def test_retest_without_named_findings_carries_those_of_its_parent(case: Case) -> None:
    await case.runner.run_whole(await case.runner.claimed(), found(1))
    findings = (await case.organization.get(f"/scans/{case.scan_id}/findings")).json()["findings"]

    await case.organization.post("/scans", {"targetId": case.target["id"], "isRetest": True, "parentScanId": case.scan_id})

    assert (await case.runner.claimed())["scan"]["retestFindings"] == findings


async def test_retest_of_findings_of_another_target_is_refused(case: Case, acme: Organization) -> None:
    await case.runner.run_whole(await case.runner.claimed(), found(1))
    finding = (await acme.get("/findings")).json()["findings"][0]
    elsewhere = await queued_scan(acme, case.runner)
    await case.runner.run_whole(await case.runner.claimed())
    body = {"targetId": elsewhere.target["id"], "isRetest": True, "parentScanId": elsewhere.scan_id, "findingIds": [finding["id"]]}

    refused = await acme.post("/scans", body)

    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "findingIds")


async def test_retest_of_a_scan_of_another_target_is_refused(case: Case, acme: Organization) -> None:
    target = await acme.target("localhost:1")

    refused = await acme.post("/scans", {"targetId": target["id"], "isRetest": True, "parentScanId": case.scan_id})

    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "parentScanId")
