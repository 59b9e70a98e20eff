"""Claims: who gets a job, how long a runner waits for one, and what it is told when it may not have one."""

from __future__ import annotations

import asyncio
import time

import pytest

from tests.server.scans.situations import ENDED, ENOUGH_SECONDS, Case, queued_scan, until_in_line
from tests.support.clock import Clock
from tests.support.in_turn import in_turn
from tests.support.people import Organization, Runner, register


async def test_claim_repeated_with_its_nonce_gets_the_same_answer(case: Case) -> None:
    first = await case.runner.claim("nonce-of-this-test")

    second = await case.runner.claim("nonce-of-this-test")

    assert first.json()["job"] is not None
    assert first.json() == second.json()
    assert (await case.scan())["attempt"] == 1


async def test_claim_repeated_after_its_job_ended_gets_nothing(case: Case) -> None:
    job = (await case.runner.claim("nonce-of-this-test")).json()["job"]
    await case.runner.run_whole(job)

    again = (await case.runner.claim("nonce-of-this-test")).json()

    assert (again["job"], again["notAccepting"]) == (None, "claim_ended")


async def test_claim_with_another_nonce_and_no_slot_left_gets_nothing(case: Case, acme: Organization) -> None:
    await queued_scan(acme, case.runner)
    await case.runner.claimed()

    second = (await case.runner.claim()).json()

    assert (second["job"], second["notAccepting"]) == (None, "no_free_slot")


async def test_claim_with_two_slots_gets_two_jobs(acme: Organization) -> None:
    runner = await acme.runner("wide", configuredConcurrency=2)
    await runner.beat(configuredConcurrency=2)
    cases = [await queued_scan(acme, runner) for _ in range(3)]

    jobs = [(await runner.claim(freeSlots=3 - n)).json()["job"] for n in range(3)]

    assert [job and job["scan"]["id"] for job in jobs] == [cases[0].scan_id, cases[1].scan_id, None]


async def test_claim_beyond_the_administrators_limit_gets_nothing(acme: Organization) -> None:
    runner = await acme.runner("wide", configuredConcurrency=2)
    await runner.beat(configuredConcurrency=2)
    await acme.patch(f"/runners/{runner.id}", {"maxConcurrency": 1})
    await queued_scan(acme, runner)
    await queued_scan(acme, runner)
    await runner.claimed()

    second = (await runner.claim()).json()

    assert (second["job"], second["notAccepting"]) == (None, "no_free_slot")


async def test_claim_by_sixteen_runners_at_once_is_won_by_one(case: Case, acme: Organization) -> None:
    await acme.delete(f"/runners/{case.runner.id}")
    runners = [await acme.runner(f"runner-{n}") for n in range(10)]

    answers = await asyncio.gather(*(runner.claim() for runner in runners))

    won = [answer.json()["job"] for answer in answers if answer.json()["job"] is not None]
    assert [job["job"]["id"] for job in won] == [case.job_id]
    assert (await case.scan())["attempt"] == 1


async def test_claim_of_one_nonce_many_times_at_once_makes_one_attempt(case: Case) -> None:
    answers = await asyncio.gather(*(case.runner.claim("same-nonce") for _ in range(8)))

    assert {answer.json()["job"]["job"]["attempt"] for answer in answers} == {1}
    assert len({answer.json()["job"]["jobToken"] for answer in answers}) == 1


async def test_claim_of_many_nonces_at_once_stays_within_the_slots(case: Case, acme: Organization) -> None:
    for _ in range(3):
        await queued_scan(acme, case.runner)

    answers = await asyncio.gather(*(case.runner.claim() for _ in range(8)))

    assert len([answer for answer in answers if answer.json()["job"] is not None]) == 1


async def test_claim_never_crosses_organizations(case: Case, other: Organization) -> None:
    stranger = await other.runner("stranger")

    answer = (await stranger.claim()).json()

    assert (answer["job"], answer["notAccepting"]) == (None, None)
    assert await case.status() == "pending_runner"


async def test_claim_by_another_than_the_requested_runner_gets_nothing(acme: Organization, runner: Runner) -> None:
    chosen = await acme.runner("chosen")
    await queued_scan(acme, chosen, runnerId=chosen.id)

    others = (await runner.claim()).json()["job"]

    assert others is None
    assert (await chosen.claimed())["job"]["runnerId"] == chosen.id


async def test_claim_of_a_visibility_that_the_runner_does_not_take_gets_nothing(case: Case) -> None:
    await case.runner.beat(capabilities={"targetVisibilities": ["public"]})

    answer = (await case.runner.claim()).json()

    assert answer["job"] is None
    assert (await case.scan())["waitingFor"]["primaryBlocker"] == "runner_compatible"


@pytest.mark.parametrize("step", ["pause", "drain"])
async def test_claim_of_a_runner_that_an_administrator_stopped_waits_and_is_told_why(case: Case, step: str) -> None:
    await case.organization.post(f"/runners/{case.runner.id}/{step}")
    began = time.monotonic()

    answer = (await case.runner.claim(wait=0.3)).json()

    assert time.monotonic() - began >= 0.3
    assert (answer["job"], answer["notAccepting"]) == (None, {"pause": "paused", "drain": "draining"}[step])
    assert answer["directives"]["adminState"] == answer["notAccepting"]


@pytest.mark.parametrize(
    ("health", "why"),
    [
        ({"engineReachable": False}, "engine_unreachable"),
        ({"diskFreeBytes": 1}, "disk_low"),
        ({"faults": ["fast_failures"]}, "fast_failures"),
    ],
)
async def test_claim_of_a_runner_with_a_blocking_fault_is_told_which(case: Case, health: dict[str, object], why: str) -> None:
    await case.runner.beat(health=health)

    answer = (await case.runner.claim()).json()

    assert (answer["job"], answer["notAccepting"]) == (None, why)


async def test_claim_without_free_slots_gets_nothing(case: Case) -> None:
    answer = (await case.runner.claim(freeSlots=0)).json()

    assert (answer["job"], answer["notAccepting"]) == (None, "no_free_slot")


async def test_claim_that_waits_is_woken_by_a_new_scan(acme: Organization, runner: Runner) -> None:
    async with asyncio.timeout(ENOUGH_SECONDS), asyncio.TaskGroup() as group:
        waiting = group.create_task(runner.claim(wait=30))
        await until_in_line(acme)

        case = await queued_scan(acme, runner)

    assert waiting.result().json()["job"]["scan"]["id"] == case.scan_id


async def test_claim_that_waits_is_woken_by_resume(case: Case) -> None:
    await case.organization.post(f"/runners/{case.runner.id}/pause")
    async with asyncio.timeout(ENOUGH_SECONDS), asyncio.TaskGroup() as group:
        waiting = group.create_task(case.runner.claim(wait=30))
        await until_in_line(case.organization)

        await case.organization.post(f"/runners/{case.runner.id}/resume")

    assert waiting.result().json()["job"]["scan"]["id"] == case.scan_id


async def test_claim_that_waits_is_woken_by_a_cancel(case: Case) -> None:
    await case.running()
    async with asyncio.timeout(ENOUGH_SECONDS), asyncio.TaskGroup() as group:
        waiting = group.create_task(case.runner.claim(wait=30, freeSlots=0))
        await until_in_line(case.organization)

        await case.cancel()

    assert waiting.result().json()["directives"]["cancelJobs"] == [case.job_id]


async def test_claim_that_knows_of_the_cancel_waits_on(case: Case) -> None:
    await case.running()
    await case.cancel()
    began = time.monotonic()

    answer = (await case.runner.claim(wait=0.3, knownCancels=[case.job_id])).json()

    assert time.monotonic() - began >= 0.3
    assert answer["directives"]["cancelJobs"] == [case.job_id]


async def test_claim_that_finds_nothing_within_its_wait_answers_no_job(runner: Runner) -> None:
    began = time.monotonic()

    answer = await runner.claim(wait=0.3)

    assert time.monotonic() - began >= 0.3
    assert (answer.status_code, answer.json()["job"], answer.json()["notAccepting"]) == (200, None, None)


@in_turn("wait", ["-1", "61", "nan", "soon"])
async def test_claim_with_a_bad_wait_is_refused(runner: Runner, wait: str) -> None:
    refused = await runner.call("POST", f"/jobs/claim?wait={wait}", {"nonce": "n"})

    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "wait")


async def test_claim_by_an_ephemeral_runner_is_one_job_in_its_life(acme: Organization, clock: Clock) -> None:
    runner = await _ephemeral(acme, concurrency=2)
    first, second = await queued_scan(acme, runner), await queued_scan(acme, runner)
    job = await runner.claimed()
    beside = (await runner.claim()).json()["job"]

    await runner.run_whole(job)

    assert beside is None
    assert await first.ending() == ("completed", "completed")
    told = (await runner.beat()).json()
    assert (told["code"], told["retired"]) == ("runner_revoked", True)
    assert await second.status() == "pending_runner"
    shown = (await acme.get("/runners?status=revoked")).json()["runners"]
    assert [(one["id"], one["ephemeral"]) for one in shown] == [(runner.id, True)]


async def test_claim_that_waits_when_its_runner_is_revoked_ends_with_the_reason(acme: Organization, runner: Runner) -> None:
    waiting = asyncio.create_task(runner.claim(wait=20))
    await until_in_line(acme)

    (await acme.delete(f"/runners/{runner.id}")).raise_for_status()
    answer = await asyncio.wait_for(waiting, ENOUGH_SECONDS)

    assert (answer.status_code, answer.json()["code"]) == (401, "runner_revoked")


async def test_claim_that_waits_when_its_runner_says_goodbye_gets_no_job(acme: Organization, runner: Runner) -> None:
    waiting = asyncio.create_task(runner.claim(wait=3))
    await until_in_line(acme)

    (await runner.call("POST", "/goodbye")).raise_for_status()
    case = await queued_scan(acme, runner, whenUnavailable="queue")
    answer = await asyncio.wait_for(waiting, ENOUGH_SECONDS)

    assert (answer.json()["job"], answer.json()["notAccepting"]) == (None, "said_goodbye")
    assert await case.status() == "pending_runner"


async def test_finish_of_an_ephemeral_runner_can_be_repeated(acme: Organization) -> None:
    runner = await _ephemeral(acme, concurrency=1)
    await queued_scan(acme, runner)
    job = await runner.claimed()
    await runner.run_whole(job)

    again = await runner.on_job(job, "finish", **ENDED)
    other_end = await runner.on_job(job, "finish", **{**ENDED, "lastSeq": 7})
    farewell = await runner.call("POST", "/goodbye")

    assert (again.status_code, farewell.status_code) == (200, 200)
    assert (other_end.status_code, other_end.json()["code"]) == (409, "lease_lost")


async def _ephemeral(organization: Organization, concurrency: int) -> Runner:
    token = await organization.enrollment_token(ephemeral=True)
    answer = (await register(organization.client, token, name="once", configuredConcurrency=concurrency)).raise_for_status().json()
    runner = Runner(organization.client, answer["runner"]["id"], answer["token"])
    await runner.beat(configuredConcurrency=concurrency)
    return runner
