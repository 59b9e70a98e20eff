"""Every timer of a scan, run out by the injected clock and one round of the timed duties."""

from __future__ import annotations

import pytest

from tests.server.scans.situations import Case, logged, pass_keeping_alive, queued_scan
from tests.support.clock import Clock
from tests.support.control_plane import Plane
from tests.support.people import Organization, Runner


async def test_queued_scan_after_a_day_fails_with_queue_timeout(case: Case, plane: Plane, clock: Clock) -> None:
    clock.pass_by(hours=24, seconds=-1)
    await plane.settle()
    before = await case.status()

    clock.pass_by(seconds=1)
    await plane.settle()

    assert before == "pending_runner"
    assert await case.ending() == ("failed", "queue_timeout")


async def test_assigned_scan_silent_for_a_minute_goes_back_to_the_queue(case: Case, plane: Plane, clock: Clock) -> None:
    job = await case.runner.claimed()
    clock.pass_by(seconds=59)
    await plane.settle()
    before = await case.status()

    clock.pass_by(seconds=1)
    await plane.settle()

    assert before == "assigned"
    scan = await case.scan()
    assert (scan["status"], scan["runnerId"], scan["attempt"]) == ("pending_runner", None, 1)
    assert (await case.runner.on_job(job, "start")).json()["code"] == "lease_lost"


async def test_assigned_scan_of_a_runner_that_speaks_stays(case: Case, plane: Plane, clock: Clock) -> None:
    job = await case.runner.claimed()
    clock.pass_by(seconds=50)
    await case.runner.on_job(job, "lease")

    clock.pass_by(seconds=50)
    await plane.settle()

    assert await case.status() == "assigned"


async def test_assigned_scan_that_never_starts_is_told_to_stop_at_the_run_timeout(case: Case, plane: Plane, clock: Clock) -> None:
    job = await case.runner.claimed()
    for _ in range(200):
        clock.pass_by(seconds=54)
        await case.runner.on_job(job, "lease")

    await plane.settle()
    clock.pass_by(seconds=120)
    await plane.settle()

    assert await case.ending() == ("failed", "run_timeout")


async def test_running_scan_whose_lease_ran_out_is_stale(case: Case, plane: Plane, clock: Clock) -> None:
    await case.running()
    clock.pass_by(seconds=119)
    await plane.settle()
    before = await case.status()

    clock.pass_by(seconds=1)
    await plane.settle()

    assert before == "running"
    assert await case.status() == "stale"
    assert (await case.scan())["statusReason"] is not None


async def test_stale_scan_whose_runner_comes_back_runs_on(case: Case, plane: Plane, clock: Clock) -> None:
    job = await case.running()
    clock.pass_by(seconds=180)
    await plane.settle()

    renewed = await case.runner.on_job(job, "lease")

    assert renewed.status_code == 200
    scan = await case.scan()
    assert (scan["status"], scan["statusReason"], scan["attempt"]) == ("running", None, 1)
    assert (await case.runner.on_job(job, "events", events=[logged(1)])).json()["ackedSeq"] == 1


async def test_stale_scan_is_given_up_300_s_after_the_last_renewal(case: Case, plane: Plane, clock: Clock) -> None:
    job = await case.running()
    clock.pass_by(seconds=30)
    await case.runner.on_job(job, "lease")
    clock.pass_by(seconds=299)
    await plane.settle()
    before = await case.status()

    clock.pass_by(seconds=1)
    await plane.settle()

    assert before == "stale"
    scan = await case.scan()
    assert (scan["status"], scan["endReason"], scan["runnerId"]) == ("pending_runner", None, None)
    assert (await case.runner.on_job(job, "lease")).json()["code"] == "lease_lost"


async def test_lost_scan_is_retried_after_30_s_by_another_runner_first(case: Case, acme: Organization, plane: Plane, clock: Clock) -> None:
    await _lose(case, plane, clock)
    second = await acme.runner("runner-2")
    too_early = (await second.claim()).json()["job"]
    await pass_keeping_alive(clock, 30, case.runner, second)

    first_asks = (await case.runner.claim()).json()["job"]
    second_asks = await second.claimed()

    assert (too_early, first_asks) == (None, None)
    assert second_asks["job"]["attempt"] == 2
    assert (await case.scan())["runnerId"] == second.id


async def test_lost_scan_is_given_to_the_same_runner_when_no_other_came(case: Case, plane: Plane, clock: Clock) -> None:
    await _lose(case, plane, clock)
    await pass_keeping_alive(clock, 60, case.runner)

    job = await case.runner.claimed()

    assert job["job"]["attempt"] == 2


async def test_lost_scan_asked_of_one_runner_goes_to_that_runner_again(acme: Organization, plane: Plane, clock: Clock) -> None:
    clock.pass_by(seconds=121)
    runner = await acme.runner("chosen")
    case = await queued_scan(acme, runner, runnerId=runner.id)
    await _lose(case, plane, clock)
    await pass_keeping_alive(clock, 30, runner)

    job = await runner.claimed()

    assert job["job"]["attempt"] == 2


async def test_scan_lost_three_times_fails_with_runner_lost(case: Case, plane: Plane, clock: Clock) -> None:
    waits = []
    for pause in (60, 150):
        await _lose(case, plane, clock)
        waits.append((await case.scan())["waitingFor"]["checks"][-1]["required"])
        await pass_keeping_alive(clock, pause, case.runner)

    await _lose(case, plane, clock)

    assert waits == ["2026-05-03T09:23:03Z", "2026-05-03T09:30:33Z"]  # 30 s and 120 s after each loss
    scan = await case.scan()
    assert (scan["status"], scan["endReason"], scan["attempt"]) == ("failed", "runner_lost", 3)


async def test_running_scan_beyond_three_hours_is_told_to_stop_and_fails_with_run_timeout(case: Case, plane: Plane, clock: Clock) -> None:
    job = await case.running()
    for _ in range(100):
        clock.pass_by(seconds=108)
        await case.runner.on_job(job, "lease")

    await plane.settle()

    told = await case.runner.on_job(job, "lease")
    assert told.json()["cancelRequestedAt"] == "2026-05-03T12:17:33Z"
    await case.runner.on_job(job, "finish", status="failed", endReason="run_timeout", lastSeq=0)
    assert await case.ending() == ("failed", "run_timeout")


async def test_cancel_that_the_runner_does_not_confirm_is_forced_after_120_s(case: Case, plane: Plane, clock: Clock) -> None:
    job = await case.running()
    await case.cancel()
    clock.pass_by(seconds=119)
    await plane.settle()
    before = await case.status()

    clock.pass_by(seconds=1)
    await plane.settle()

    assert before == "running"
    assert await case.ending() == ("cancelled", "canceled_by_user")
    assert (await case.runner.on_job(job, "lease")).json()["code"] == "lease_lost"


async def test_cancel_of_a_stale_scan_is_forced_too(case: Case, plane: Plane, clock: Clock) -> None:
    await case.running()
    clock.pass_by(seconds=121)
    await plane.settle()
    await case.cancel()

    clock.pass_by(seconds=120)
    await plane.settle()

    assert await case.ending() == ("cancelled", "canceled_by_user")


async def test_restarted_server_lets_no_lease_expire_for_120_s(acme: Organization, runner: Runner, plane: Plane, clock: Clock) -> None:
    case = await queued_scan(acme, runner)
    await case.running()
    assigned = await queued_scan(acme, runner)
    second = await acme.runner("runner-2")
    await second.claimed()

    clock.pass_by(seconds=119)
    await plane.settle()

    assert [await case.status(), await assigned.status()] == ["running", "assigned"]


async def test_restarted_server_after_the_amnesty_counts_silence_again(
    acme: Organization, runner: Runner, plane: Plane, clock: Clock
) -> None:
    case = await queued_scan(acme, runner)
    await case.running()

    clock.pass_by(seconds=120)
    await plane.settle()

    assert await case.status() == "stale"


@pytest.mark.parametrize("how", ["forced cancel", "revoked runner"])
async def test_target_of_an_attempt_that_may_still_run_stays_closed_until_it_is_surely_silent(
    case: Case, acme: Organization, plane: Plane, clock: Clock, how: str
) -> None:
    second = await acme.runner("runner-2")
    await case.running()
    if how == "forced cancel":
        await case.cancel()
        clock.pass_by(seconds=120)
        await plane.settle()
        await acme.scan(case.target["id"])
        await pass_keeping_alive(clock, 300 - 120 - 1, second)
    else:
        await acme.delete(f"/runners/{case.runner.id}")
        await pass_keeping_alive(clock, 300 - 1, second)

    too_early = (await second.claim()).json()["job"]
    clock.pass_by(seconds=1)
    in_time = (await second.claim()).json()["job"]

    assert too_early is None
    assert in_time["target"]["id"] == case.target["id"]


async def test_target_of_an_attempt_that_never_started_is_free_at_once(case: Case, acme: Organization) -> None:
    second = await acme.runner("runner-2")
    await case.runner.claimed()
    await acme.delete(f"/runners/{case.runner.id}")

    scan = await case.scan()

    assert scan["waitingFor"]["checks"][-3]["code"] == "target_idle"
    assert scan["waitingFor"]["checks"][-3]["ok"] is True
    assert second.id


async def test_goodbye_gives_the_scan_back_at_once(case: Case, acme: Organization, clock: Clock) -> None:
    second = await acme.runner("runner-2")
    await case.running()

    said = await case.runner.call("POST", "/goodbye", {"reason": "host update"})

    assert said.json() == {"releasedJobs": [case.job_id]}
    await pass_keeping_alive(clock, 30, second)
    assert (await second.claimed())["job"] == {
        "id": case.job_id,
        "runnerId": second.id,
        "attempt": 2,
        "leaseSeconds": 120,
        "renewAfterSeconds": 30,
    }


async def test_scan_whose_claim_crossed_with_the_stop_of_its_runner_goes_to_another_at_once(case: Case, acme: Organization) -> None:
    second = await acme.runner("runner-2")
    await case.runner.claimed()

    said = await case.runner.call("POST", "/goodbye", {"bootId": case.runner.boot_id})

    assert said.json() == {"releasedJobs": [case.job_id]}
    assert (await case.runner.claim()).json()["job"] is None
    await second.run_whole(await second.claimed())
    assert await case.ending() == ("completed", "completed")
    assert (await case.scan())["attempt"] == 2


@pytest.mark.parametrize("boots_between", [0, 1])
async def test_goodbye_of_an_earlier_boot_leaves_the_present_one_its_scans(case: Case, boots_between: int) -> None:
    before = case.runner.boot_id
    for number in range(boots_between + 1):
        case.runner.boot_id = f"boot-after-restart-{number}"
        await case.runner.beat()
    await case.running()

    said = await case.runner.call("POST", "/goodbye", {"bootId": before})

    assert said.json() == {"releasedJobs": []}
    assert await case.status() == "running"


async def test_revoked_runner_loses_its_scans_and_its_token(case: Case, acme: Organization) -> None:
    job = await case.running()

    revoked = await acme.delete(f"/runners/{case.runner.id}")

    assert revoked.status_code == 204
    assert (await case.runner.on_job(job, "lease")).json()["code"] == "runner_revoked"
    scan = await case.scan()
    assert (scan["status"], scan["statusReason"]) == ("pending_runner", "runner_revoked: The runner was revoked.")


async def _lose(case: Case, plane: Plane, clock: Clock) -> None:
    """The runner takes the scan, starts it, and is never heard of again by its job."""
    await case.running()
    clock.pass_by(seconds=300)
    await plane.settle()
    (await case.runner.beat()).raise_for_status()


async def test_drained_runner_that_keeps_its_scan_past_the_deadline_loses_it(
    case: Case, plane: Plane, clock: Clock, acme: Organization
) -> None:
    job = await case.running()
    (await acme.post(f"/runners/{case.runner.id}/drain", {"deadlineSeconds": 60})).raise_for_status()
    clock.pass_by(seconds=60 + 119)
    (await case.runner.on_job(job, "lease")).raise_for_status()
    await plane.settle()
    before = await case.status()

    clock.pass_by(seconds=1)
    await plane.settle()
    scan, late = await case.scan(), await case.runner.on_job(job, "lease")

    assert before == "running"
    assert scan["status"] == "pending_runner"
    assert scan["statusReason"] == "runner_shutdown: The runner was drained and did not give the scan back at the deadline."
    assert late.json()["code"] == "lease_lost"
