"""Claims that are answered from memory: which are, and that nobody can tell them from the others."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx2
import pytest

from tests.server.scans.situations import ENOUGH_SECONDS, Case, queued_scan, until_in_line
from tests.support.clock import Clock
from tests.support.control_plane import Plane, answered_from_memory
from tests.support.in_turn import in_turn
from tests.support.people import Organization, Runner


async def test_claim_that_has_to_wait_is_answered_from_memory(plane: Plane, runner: Runner) -> None:
    before = await answered_from_memory(plane, "claim")

    answer = await runner.claim(wait=0.2)

    assert (answer.status_code, answer.json()["job"], answer.json()["notAccepting"]) == (200, None, None)
    assert await answered_from_memory(plane, "claim") == before + 1


async def test_claim_from_memory_gets_the_scan_that_is_started_meanwhile(plane: Plane, acme: Organization, runner: Runner) -> None:
    before = await answered_from_memory(plane, "claim")
    waiting = asyncio.create_task(runner.claim(wait=20))
    await until_in_line(acme)

    case = await queued_scan(acme, runner)
    answer = await asyncio.wait_for(waiting, ENOUGH_SECONDS)

    assert answer.json()["job"]["scan"]["id"] == case.scan_id
    assert await case.status() == "assigned"
    assert await answered_from_memory(plane, "claim") == before + 1


def comparable(answer: httpx2.Response) -> tuple[int, Any, dict[str, str]]:
    """Without what is another one in each answer."""
    varying = {"x-request-id", "x-ratelimit-remaining", "x-ratelimit-reset"}
    body = {**answer.json(), "requestId": ""}
    return answer.status_code, body, {name: value for name, value in answer.headers.items() if name not in varying}


@pytest.mark.parametrize("situation", ["idle", "paused", "no_slot", "fault"])
async def test_answer_is_the_same_on_both_ways(situation: str, plane: Plane, acme: Organization, runner: Runner) -> None:
    if situation == "paused":
        (await acme.post(f"/runners/{runner.id}/pause", {"note": "window"})).raise_for_status()
    if situation == "fault":
        (await runner.beat(health={"diskFreeBytes": 1})).raise_for_status()
    slots = 0 if situation == "no_slot" else 1
    before = await answered_from_memory(plane, "claim")
    fast = await runner.claim("one", wait=0, freeSlots=slots)
    assert await answered_from_memory(plane, "claim") == before + 1

    plane.app.has_fast_lane = False
    documented = await runner.claim("two", wait=0, freeSlots=slots)

    assert comparable(fast) == comparable(documented)
    assert fast.text == documented.text


@in_turn(
    ("path", "sent"),
    [
        ("/jobs/claim", {"content": b"{", "headers": {"content-type": "application/json"}}),
        ("/jobs/claim", {"json": {"freeSlots": 1}}),
        ("/jobs/claim", {"json": {"nonce": "a", "freeSlots": -1}}),
        ("/jobs/claim?wait=61", {"json": {"nonce": "a"}}),
        ("/jobs/claim?wait=soon", {"json": {"nonce": "a"}}),
    ],
)
async def test_bad_claim_is_refused_as_on_the_documented_way(path: str, sent: dict[str, Any], plane: Plane, runner: Runner) -> None:
    async def ask() -> httpx2.Response:
        headers = {"authorization": f"Bearer {runner.token}", **sent.get("headers", {})}
        return await runner.client.post(f"/api/runner{path}", **{**sent, "headers": headers})

    plane.app.has_fast_lane = True
    fast = await ask()
    plane.app.has_fast_lane = False
    documented = await ask()

    assert fast.status_code == documented.status_code >= 400
    assert comparable(fast) == comparable(documented)


async def test_runner_that_holds_a_job_is_told_of_its_cancel(plane: Plane, case: Case) -> None:
    await case.running()
    (await case.runner.beat(configuredConcurrency=2)).raise_for_status()
    before = await answered_from_memory(plane, "claim")
    waiting = asyncio.create_task(case.runner.claim(wait=20))
    await until_in_line(case.organization)

    await case.cancel()
    answer = await asyncio.wait_for(waiting, ENOUGH_SECONDS)

    assert answer.json()["directives"]["cancelJobs"] == [case.job_id]
    assert await answered_from_memory(plane, "claim") == before


async def test_nonce_that_got_a_job_gets_it_again_after_everything_was_forgotten(plane: Plane, case: Case) -> None:
    first = await case.runner.claim("nonce-of-this-test")
    (await case.runner.beat()).raise_for_status()
    plane.resources.beats.forget_everyone()

    again = await case.runner.claim("nonce-of-this-test", wait=5)

    assert again.json()["job"] == first.json()["job"] is not None


async def test_nonce_whose_job_has_ended_is_told_so_from_memory_or_not(plane: Plane, case: Case) -> None:
    job = (await case.runner.claim("nonce-of-this-test")).json()["job"]
    (await case.runner.run_whole(job)).raise_for_status()
    (await case.runner.beat()).raise_for_status()

    again = (await case.runner.claim("nonce-of-this-test")).json()

    assert (again["job"], again["notAccepting"]) == (None, "claim_ended")


async def test_runner_whose_heartbeats_stopped_is_in_contact_by_its_claims(acme: Organization, runner: Runner, clock: Clock) -> None:
    for _ in range(5):
        clock.pass_by(seconds=20)
        (await runner.claim()).raise_for_status()

    shown = (await acme.get(f"/runners/{runner.id}")).json()["runner"]

    assert (shown["status"], shown["statusReasons"]) == ("degraded", ["heartbeat_late"])


async def test_pause_while_a_claim_waits_is_told_at_its_end(acme: Organization, runner: Runner) -> None:
    waiting = asyncio.create_task(runner.claim(wait=2))
    await until_in_line(acme)

    (await acme.post(f"/runners/{runner.id}/pause")).raise_for_status()
    case = await queued_scan(acme, runner)
    answer = (await asyncio.wait_for(waiting, ENOUGH_SECONDS)).json()

    assert (answer["job"], answer["notAccepting"], answer["directives"]["adminState"]) == (None, "paused", "paused")
    assert await case.status() == "pending_runner"


async def test_many_scans_are_given_to_many_waiting_runners_one_each(acme: Organization) -> None:
    runners = [await acme.runner(f"runner-{n}") for n in range(5)]
    waiting = [asyncio.create_task(runner.claim(wait=20)) for runner in runners]
    await until_in_line(acme, 5)

    cases = [await queued_scan(acme, runners[0]) for _ in range(5)]
    answers = await asyncio.wait_for(asyncio.gather(*waiting), ENOUGH_SECONDS)

    given = {answer.json()["job"]["job"]["runnerId"]: answer.json()["job"]["scan"]["id"] for answer in answers}
    assert set(given) == {runner.id for runner in runners}
    assert set(given.values()) == {case.scan_id for case in cases}


async def test_scan_behind_many_others_that_nobody_here_may_take_is_found(acme: Organization, runner: Runner) -> None:
    away = await acme.runner("away")
    for _ in range(3):
        await queued_scan(acme, away, runnerId=away.id)
    mine = await queued_scan(acme, runner)

    job = await runner.claimed()

    assert job["scan"]["id"] == mine.scan_id


async def test_license_that_leaves_no_job_is_told_and_the_next_free_one_is_given(acme: Organization) -> None:
    busy = await acme.runner("busy", configuredConcurrency=10)
    (await busy.beat(configuredConcurrency=10)).raise_for_status()
    held = []
    for _ in range(10):
        await queued_scan(acme, busy)
        held.append(await busy.claimed())
    idle = await acme.runner("idle")
    refused = (await idle.claim()).json()
    waiting = asyncio.create_task(idle.claim(wait=20))
    await until_in_line(acme)

    case = await queued_scan(acme, idle)
    (await busy.run_whole(held[0])).raise_for_status()
    answer = await asyncio.wait_for(waiting, ENOUGH_SECONDS)

    assert (refused["job"], refused["notAccepting"]) == (None, "license_capacity")
    assert answer.json()["job"]["scan"]["id"] == case.scan_id
