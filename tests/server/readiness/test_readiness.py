"""Readiness over HTTP: whether a scan may start, the one reason why not, and the same answer for a scan that waits."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import update

from apviso.protocol.states import Visibility
from apviso.server.db.schema import OrganizationRow, TargetRow
from tests.server.scans.situations import Case, queued_scan
from tests.support.clock import Clock
from tests.support.control_plane import Plane
from tests.support.people import Organization, Runner


async def _ask(organization: Organization, **query: str) -> dict[str, Any]:
    answer: dict[str, Any] = (await organization.get("/runners/readiness", params=query)).raise_for_status().json()
    return answer


async def test_readiness_with_a_runner_is_ready_without_blocker(acme: Organization, runner: Runner) -> None:
    target = await acme.target()

    ready = await _ask(acme, targetId=target["id"])

    assert (ready["ready"], ready["reason"], ready["primaryBlocker"], ready["estimatedStartAt"]) == (True, None, None, None)
    assert (ready["visibility"], ready["visibilityOk"], ready["runnerOk"], ready["capacityOk"]) == ("localhost", True, True, True)
    assert ready["selectedRunnerId"] == runner.id
    assert {check["ok"] for check in ready["checks"]} == {True}
    assert {check["fix"] for check in ready["checks"]} == {None}
    assert ready["runners"] == [{"id": runner.id, "name": "runner-1", "status": "online", "configuredConcurrency": 1, "currentJobs": 0}]


async def test_brief_readiness_counts_the_runners_instead_of_naming_them(acme: Organization, runner: Runner) -> None:
    await acme.runner("second")
    await runner.beat(health={"diskFreeBytes": 1})
    whole, listed = await _ask(acme), (await acme.get("/runners", params={"brief": "true"})).json()

    brief = await _ask(acme, brief="true")

    assert len(whole["runners"]) == len(listed["runners"]) == 2
    assert brief == listed["readiness"] == {**whole, "runners": []}
    assert brief["runnerCounts"] == {"online": 1, "degraded": 1, "offline": 0}


async def test_readiness_of_one_paused_and_one_silent_runner_is_not_ready(acme: Organization, clock: Clock) -> None:
    clock.pass_by(seconds=121)
    await acme.runner("silent")
    clock.pass_by(seconds=61)
    paused = await acme.runner("paused")
    await acme.post(f"/runners/{paused.id}/pause")

    answer = await _ask(acme)

    assert (answer["ready"], answer["runnerOk"], answer["primaryBlocker"]) == (False, False, "runner_accepting")
    assert answer["reason"] == "paused is paused and takes no new scan."
    assert answer["selectedRunnerId"] is None


async def test_readiness_of_the_runner_asked_for_alone_counts(acme: Organization, runner: Runner) -> None:
    paused = await acme.runner("paused")
    await acme.post(f"/runners/{paused.id}/pause")

    of_paused, of_other, of_any = await _ask(acme, runnerId=paused.id), await _ask(acme, runnerId=runner.id), await _ask(acme)

    assert [answer["ready"] for answer in (of_paused, of_other, of_any)] == [False, True, True]
    assert [answer["selectedRunnerId"] for answer in (of_paused, of_other, of_any)] == [None, runner.id, runner.id]
    assert [one["id"] for one in of_paused["runners"]] == [paused.id]


async def test_readiness_of_a_revoked_runner_says_so(acme: Organization, runner: Runner) -> None:
    await acme.delete(f"/runners/{runner.id}")

    answer = await _ask(acme, runnerId=runner.id)

    assert (answer["primaryBlocker"], answer["reason"]) == ("runner_registered", "The runner asked for is revoked.")


@pytest.mark.parametrize(("fault", "is_ready"), [("engineReachable", False), ("clockSkewMs", True)])
async def test_readiness_is_blocked_by_blocking_faults_alone(acme: Organization, runner: Runner, fault: str, is_ready: bool) -> None:
    await runner.beat(health={"engineReachable": False} if fault == "engineReachable" else {"clockSkewMs": 60_000})

    answer = await _ask(acme)

    assert (answer["ready"], answer["runnerOk"]) == (is_ready, is_ready)
    assert answer["primaryBlocker"] == (None if is_ready else "runner_healthy")
    assert answer["runners"][0]["status"] == "degraded"


@pytest.mark.parametrize("kind", ["targetId", "runnerId"])
@pytest.mark.parametrize("whose", ["nobody", "another organization"])
async def test_readiness_of_an_unknown_id_is_not_found(acme: Organization, other: Organization, kind: str, whose: str) -> None:
    theirs = {"targetId": (await other.target())["id"], "runnerId": (await other.runner()).id}

    refused = await acme.get("/runners/readiness", params={kind: theirs[kind] if whose != "nobody" else "unknown"})

    assert (refused.status_code, refused.json()["code"]) == (404, f"{kind.removesuffix('Id')}_not_found")


async def test_readiness_of_an_unproved_public_target_names_the_proof(acme: Organization, runner: Runner, plane: Plane) -> None:
    target = await acme.target("shop.example.com", "public")
    before = await _ask(acme, targetId=target["id"])

    async with plane.resources.database.writing() as work:
        await work.db.execute(update(TargetRow).values(verified_at=work.now))

    assert (before["primaryBlocker"], before["visibilityOk"], before["ready"]) == ("target_verified", False, False)
    assert (await _ask(acme, targetId=target["id"]))["ready"] is True


async def test_readiness_where_no_proof_is_required_needs_none(acme: Organization, runner: Runner, plane: Plane) -> None:
    target = await acme.target("shop.example.com", "public")
    async with plane.resources.database.writing() as work:
        await work.db.execute(update(OrganizationRow).values(requires_verification=False))

    assert (await _ask(acme, targetId=target["id"]))["ready"] is True


async def test_readiness_with_every_slot_taken_estimates_from_experience(acme: Organization, runner: Runner, clock: Clock) -> None:
    done = await queued_scan(acme, runner)
    job = await done.running()
    clock.pass_by(seconds=40)
    await runner.on_job(job, "finish", status="completed", endReason="completed", lastSeq=0)
    await runner.beat()
    await (await queued_scan(acme, runner)).running()

    answer = await _ask(acme)

    assert (answer["primaryBlocker"], answer["capacityOk"], answer["runnerOk"]) == ("runner_capacity", False, True)
    assert answer["estimatedStartAt"] == (clock.now + timedelta(seconds=40)).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert answer["runners"][0]["currentJobs"] == 1


async def test_readiness_with_every_slot_taken_and_no_experience_estimates_nothing(acme: Organization, runner: Runner) -> None:
    await (await queued_scan(acme, runner)).running()

    assert (await _ask(acme))["estimatedStartAt"] is None


@pytest.mark.parametrize("state", ["nobody", "paused", "busy", "faulty"])
async def test_readiness_and_a_queued_scan_give_the_same_checks(acme: Organization, runner: Runner, state: str) -> None:
    match state:
        case "nobody":
            await acme.delete(f"/runners/{runner.id}")
        case "paused":
            await acme.post(f"/runners/{runner.id}/pause")
        case "busy":
            await (await queued_scan(acme, runner)).running()
        case _:
            await runner.beat(health={"engineReachable": False})
    case: Case = await queued_scan(acme, runner)

    waiting, readiness = (await case.scan())["waitingFor"], await _ask(acme, targetId=case.target["id"])

    # A queued scan is not in its own way; for everybody else its target is taken.
    shared = [check for check in readiness["checks"] if check["code"] != "target_idle"]
    assert [check for check in waiting["checks"] if check["code"] != "target_idle"] == shared
    assert (waiting["primaryBlocker"], waiting["reason"]) == (readiness["primaryBlocker"], readiness["reason"])
    assert [check["ok"] for check in waiting["checks"] if check["code"] == "target_idle"] == [True]


@pytest.mark.parametrize("visibility", ["localhost", "private_internal"])
async def test_readiness_counts_only_runners_that_take_the_visibility(acme: Organization, runner: Runner, visibility: str) -> None:
    await runner.beat(capabilities={"targetVisibilities": [Visibility.PRIVATE_INTERNAL]})
    domain = "localhost:3000" if visibility == "localhost" else "intranet.example.com"
    target = await acme.target(domain, visibility)

    answer = await _ask(acme, targetId=target["id"])

    assert answer["primaryBlocker"] == ("runner_compatible" if visibility == "localhost" else None)
