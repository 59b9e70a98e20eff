"""Claiming: one nonce for one claim, slots, cancellations that arrive by the waiting call."""

from __future__ import annotations

import asyncio
import json

import pytest

from apviso.runner import claims
from tests.runner.conftest import StartDaemon, alive, pids_of
from tests.runner.fake_control_plane import LOST_ANSWER, PROXY_PAGE, FakeControlPlane, FakeJob, Reply, job_body, problem
from tests.runner.target_application import TargetApplication


def nonces(plane: FakeControlPlane) -> list[str]:
    return [call.body["nonce"] for call in plane.of("/jobs/claim")]


@pytest.mark.slow
async def test_claim_whose_answer_was_lost_is_asked_again_with_the_same_nonce_and_runs_once(
    plane: FakeControlPlane, start_daemon: StartDaemon, application: TargetApplication
) -> None:
    plane.script("/jobs/claim", LOST_ANSWER, PROXY_PAGE)
    job = await plane.add_job(FakeJob(job_body(scan_url=application.url)))
    start_daemon()

    await plane.until(lambda: job.finish is not None)

    assert len(set(nonces(plane)[:3])) == 1
    assert len(plane.job_calls(job, "start")) == 1


async def test_claim_after_an_answered_one_has_a_new_nonce(plane: FakeControlPlane, start_daemon: StartDaemon) -> None:
    nothing = Reply(200, {"job": None})
    plane.script("/jobs/claim", nothing, nothing)
    start_daemon()

    await plane.until(lambda: len(nonces(plane)) >= 3)

    assert len(set(nonces(plane)[:3])) == 3


async def test_claims_that_are_answered_at_once_with_nothing_do_not_become_a_hot_loop(
    plane: FakeControlPlane, start_daemon: StartDaemon
) -> None:
    plane.script("/jobs/claim", *[Reply(200, {"job": None, "notAccepting": "paused"})] * 50)
    start_daemon()

    await plane.until(lambda: len(nonces(plane)) >= 3)

    calls = plane.of("/jobs/claim")
    assert calls[2].at - calls[0].at >= 1.9


async def test_claims_go_on_without_a_free_slot_and_ask_for_nothing(
    plane: FakeControlPlane, start_daemon: StartDaemon, application: TargetApplication
) -> None:
    job = await plane.add_job(FakeJob(job_body(scan_url=application.url, domain="lingers.localhost")))
    second = await plane.add_job(FakeJob(job_body("job-2", scan_url=application.url)))
    start_daemon()

    await plane.until(lambda: len(plane.of("/jobs/claim")) >= 2 and job.state == "running")

    assert [call.body["freeSlots"] for call in plane.of("/jobs/claim")[:2]] == [1, 0]
    assert second.state == "queued"


async def test_claims_without_room_on_the_disk_ask_for_nothing_and_say_so(plane: FakeControlPlane, start_daemon: StartDaemon) -> None:
    job = await plane.add_job(FakeJob(job_body()))
    plane.script("/jobs/claim", Reply(200, {"job": None, "notAccepting": "no_free_slot"}))
    daemon = start_daemon(min_free_disk_bytes=2**62)

    await plane.until(lambda: len(plane.of("/jobs/claim")) >= 2 and bool(plane.of("/heartbeat")))

    assert [call.body["freeSlots"] for call in plane.of("/jobs/claim")] == [0, 0]
    assert plane.of("/heartbeat")[0].body["health"]["faults"] == ["disk_low"]
    assert daemon.daemon.pulse.not_accepting == "disk_low"
    assert job.state == "queued"


async def test_claim_follows_at_once_when_a_slot_becomes_free(
    plane: FakeControlPlane, start_daemon: StartDaemon, application: TargetApplication
) -> None:
    first = await plane.add_job(FakeJob(job_body(scan_url=application.url, domain="brief.localhost")))
    second = await plane.add_job(FakeJob(job_body("job-2", scan_url=application.url)))
    start_daemon()

    await plane.until(lambda: second.state != "queued", 15)

    finished = plane.job_calls(first, "finish")[-1].at
    claimed = next(call for call in plane.of("/jobs/claim") if call.body["freeSlots"] == 1 and call.at > finished)
    assert claimed.at - finished < 1.5


async def test_two_slots_run_two_scans_at_the_same_time(
    plane: FakeControlPlane, start_daemon: StartDaemon, application: TargetApplication
) -> None:
    jobs = [await plane.add_job(FakeJob(job_body(f"job-{n}", scan_url=application.url, domain="lingers.localhost"))) for n in (1, 2)]
    daemon = start_daemon(concurrency=2)

    await plane.until(lambda: all(job.state == "running" for job in jobs))

    assert daemon.daemon.roster.free_slots == 0


async def test_cancel_reaches_the_scan_within_two_seconds_and_its_processes_are_gone(
    plane: FakeControlPlane, start_daemon: StartDaemon, application: TargetApplication
) -> None:
    job = await plane.add_job(FakeJob(job_body(scan_url=application.url, domain="lingers.localhost")))
    daemon = start_daemon()
    await plane.until(lambda: any(message.startswith("pids") for message in job.messages()))
    [attempt] = daemon.daemon.roster.attempts

    await plane.cancel(job)
    await asyncio.wait_for(attempt.stopping.wait(), 2.0)
    await plane.until(lambda: job.finish is not None)

    assert job.finish is not None
    assert (job.finish["status"], job.finish["endReason"]) == ("cancelled", "canceled_by_user")
    assert alive(pids_of(job)) == []
    assert job.id in plane.of("/jobs/claim")[-1].body["knownCancels"]


@pytest.mark.slow
async def test_cancel_that_is_known_does_not_end_the_wait_again(
    plane: FakeControlPlane, start_daemon: StartDaemon, application: TargetApplication
) -> None:
    job = await plane.add_job(FakeJob(job_body(scan_url=application.url, domain="stubborn.localhost")))
    start_daemon()
    await plane.until(lambda: any(message.startswith("pids") for message in job.messages()))

    await plane.cancel(job)
    count = len(plane.of("/jobs/claim"))
    await plane.until(lambda: job.finish is not None, 20)

    assert len(plane.of("/jobs/claim")) - count <= 3


async def test_claim_that_crosses_with_the_stop_starts_nothing_and_goodbye_gives_it_back(
    plane: FakeControlPlane, start_daemon: StartDaemon, application: TargetApplication
) -> None:
    plane.heartbeat_interval_ms = 200
    first = await plane.add_job(FakeJob(job_body(scan_url=application.url, domain="lingers.localhost")))
    daemon = start_daemon(concurrency=2, shutdown_grace_seconds=2)
    await plane.until(lambda: first.state == "running" and len(plane.of("/jobs/claim")) == 2)

    daemon.daemon.stop.signal()
    beats = len(plane.of("/heartbeat"))
    await plane.until(lambda: len(plane.of("/heartbeat")) >= beats + 2)
    second = await plane.add_job(FakeJob(job_body("job-2", scan_url=application.url)))
    await daemon.outcome()

    assert second.state == "claimed"
    assert [call.path for call in plane.calls if call.path.startswith(f"/jobs/{second.id}")] == []
    assert (len(plane.of("/jobs/claim")), plane.calls[-1].path) == (2, "/goodbye")


async def test_claimed_job_whose_id_is_a_path_is_ignored(
    plane: FakeControlPlane, start_daemon: StartDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "SHORTEST_EMPTY_SECONDS", 0.05)
    for job_id in ("../../evil", ".", "a/b", ""):
        plane.script("/jobs/claim", Reply(200, {"job": json.loads(json.dumps(job_body(job_id)))}))
    daemon = start_daemon()

    await plane.until(lambda: len(plane.of("/jobs/claim")) >= 5)

    assert daemon.daemon.roster.attempts == []
    assert not any(call.path.endswith("/preflight") for call in plane.calls)


async def test_claim_that_is_refused_is_tried_again_later(plane: FakeControlPlane, start_daemon: StartDaemon) -> None:
    plane.script("/jobs/claim", problem(422, "invalid_fields"))
    daemon = start_daemon()

    await plane.until(lambda: len(plane.of("/jobs/claim")) >= 2)

    assert not daemon.task.done()
