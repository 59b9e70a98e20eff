"""Reporting in: the server's pace, what a beat says, and what its answer makes the runner do."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from apviso.protocol.daemon import Directives
from apviso.protocol.states import AdminState
from apviso.protocol.wire import format_instant
from apviso.runner.attempts import Roster
from apviso.runner.clock import Clock
from apviso.runner.directives import Obedience, is_drain_over, is_older
from apviso.runner.heartbeat import interval_with_jitter, skew_ms
from apviso.runner.pulse import Pulse
from apviso.runner.shutdown import Outcome
from tests.runner.conftest import StartDaemon
from tests.runner.fake_control_plane import PROXY_PAGE, FakeControlPlane, FakeJob, Reply, job_body, problem
from tests.runner.target_application import TargetApplication

NOON = datetime(2026, 5, 3, 12, 0, 0, tzinfo=UTC)


@given(interval=st.floats(0.2, 300), draw=st.floats(0, 1, exclude_max=True))
def test_interval_with_jitter_stays_within_ten_percent(interval: float, draw: float) -> None:
    assert interval * 0.899 <= interval_with_jitter(interval, draw) <= interval * 1.101


@pytest.mark.parametrize(("local_ahead", "skew"), [(0.5, 0), (30.5, 30_000), (-9.5, -10_000)])
def test_skew_is_how_far_this_host_is_ahead_of_the_servers_whole_seconds(local_ahead: float, skew: int) -> None:
    sent_at = NOON + timedelta(seconds=local_ahead - 0.1)

    assert skew_ms(sent_at, 0.2, NOON) == skew


@pytest.mark.parametrize(
    ("version", "minimum", "older"),
    [("0.1.0", "0.2.0", True), ("0.10.0", "0.9.9", False), ("1.0", "1.0.0", True), ("1.0.0rc1", "1.0.0", False), ("dev", "1.0", False)],
)
def test_version_is_older_by_its_numbers(version: str, minimum: str, older: bool) -> None:
    assert is_older(version, minimum) is older


@pytest.mark.parametrize(
    ("state", "deadline", "over"),
    [
        (AdminState.DRAINING, NOON, True),
        (AdminState.DRAINING, NOON + timedelta(seconds=1), False),
        (AdminState.DRAINING, None, False),
        (AdminState.PAUSED, NOON, False),
    ],
)
def test_drain_is_over_when_its_deadline_has_passed_on_the_servers_clock(state: AdminState, deadline: datetime | None, over: bool) -> None:
    assert is_drain_over(Directives(admin_state=state, drain_deadline=deadline), NOON) is over


def test_version_that_will_be_given_up_is_said_once_with_its_time() -> None:
    obedience = Obedience(Roster(1), Pulse(Clock()))
    told = Directives(minimum_version="99.0.0", minimum_version_from=NOON)

    with capture_logs() as lines:
        for directives in (told, told, Directives(minimum_version="0.0.1"), Directives(minimum_version="99.0.0")):
            obedience.obey(directives)

    assert [(line["event"], line["no_scans_from"]) for line in lines] == [
        ("version_too_old", "2026-05-03T12:00:00+00:00"),
        ("version_too_old", "now"),
    ]


async def test_heartbeats_follow_the_servers_interval_within_ten_percent(plane: FakeControlPlane, start_daemon: StartDaemon) -> None:
    plane.heartbeat_interval_ms = 400
    start_daemon()

    await plane.until(lambda: len(plane.of("/heartbeat")) >= 6)

    gaps = [after.at - before.at for before, after in pairwise(plane.of("/heartbeat"))]
    assert all(0.35 <= gap <= 0.7 for gap in gaps), gaps
    assert len({round(gap, 3) for gap in gaps}) > 1


async def test_heartbeat_says_who_how_and_what_without_secrets(plane: FakeControlPlane, start_daemon: StartDaemon) -> None:
    start_daemon(environ={"OPENAI_API_KEY": "canary-provider-key"}, concurrency=3)

    await plane.until(lambda: len(plane.of("/heartbeat")) >= 1)

    beat = plane.of("/heartbeat")[0].body
    assert (beat["beatSeq"], beat["configuredConcurrency"], beat["currentJobs"]) == (1, 3, 0)
    assert beat["providerState"] == {"modelProvider": "openai", "embeddingProvider": "openai"}
    assert beat["capabilities"]["localProviderSecrets"] is True
    assert beat["capabilities"]["isolation"] == "process"
    assert any("No network namespace" in limit for limit in beat["capabilities"]["engine"]["limits"])
    assert beat["health"]["engineReachable"] is True
    assert 0 < beat["health"]["diskFreeBytes"] <= beat["health"]["diskTotalBytes"]
    assert 0 < beat["health"]["memoryAvailableBytes"] <= beat["health"]["memoryTotalBytes"]
    assert (beat["health"]["loadAverage"] >= 0, beat["health"]["cpuCount"] >= 1) == (True, True)
    assert "canary" not in plane.received()


async def test_heartbeats_count_up_under_one_boot_id_for_each_process(plane: FakeControlPlane, start_daemon: StartDaemon) -> None:
    plane.heartbeat_interval_ms = 200
    first = start_daemon()
    await plane.until(lambda: len(plane.of("/heartbeat")) >= 3)
    await first.stop()
    count = len(plane.of("/heartbeat"))
    start_daemon()
    await plane.until(lambda: len(plane.of("/heartbeat")) > count)

    beats = [call.body for call in plane.of("/heartbeat")]

    assert [beat["beatSeq"] for beat in beats[:count]] == list(range(1, count + 1))
    assert len({beat["bootId"] for beat in beats[:count]}) == 1
    assert (beats[count]["beatSeq"], beats[count]["bootId"] != beats[0]["bootId"]) == (1, True)


@pytest.mark.parametrize("reply", [PROXY_PAGE, problem(503, "overloaded", retryable=True), Reply(500, "oops"), Reply(drop=True)])
async def test_heartbeat_that_fails_is_followed_by_another(reply: Reply, plane: FakeControlPlane, start_daemon: StartDaemon) -> None:
    plane.script("/heartbeat", reply, reply)
    daemon = start_daemon()

    await plane.until(lambda: len(plane.of("/heartbeat")) >= 3)

    assert not daemon.task.done()


async def test_heartbeat_with_retry_after_waits_as_long_as_asked(plane: FakeControlPlane, start_daemon: StartDaemon) -> None:
    busy = problem(503, "overloaded", retryable=True)
    plane.script("/heartbeat", Reply(503, busy.body, {"retry-after": "2"}))
    start_daemon()

    await plane.until(lambda: len(plane.of("/heartbeat")) >= 2)

    first, second = plane.of("/heartbeat")[:2]
    assert 2.0 <= second.at - first.at < 4.0


async def test_heartbeat_reports_running_attempts_and_the_age_of_the_last_poll(
    plane: FakeControlPlane, start_daemon: StartDaemon, application: TargetApplication
) -> None:
    plane.heartbeat_interval_ms = 300
    job = await plane.add_job(FakeJob(job_body(scan_url=application.url, domain="lingers.localhost")))
    start_daemon()
    await plane.until(lambda: job.state == "running")
    count = len(plane.of("/heartbeat"))

    await plane.until(lambda: len(plane.of("/heartbeat")) > count + 1)

    beat = plane.of("/heartbeat")[-1].body
    assert beat["runningJobs"] == [{"jobId": job.id, "attempt": 1}]
    assert beat["currentJobs"] == 1
    assert beat["lastClaimPollAgeMs"] < 20_000


async def test_drain_deadline_that_has_passed_gives_the_running_scan_back(
    plane: FakeControlPlane, start_daemon: StartDaemon, application: TargetApplication
) -> None:
    plane.heartbeat_interval_ms = 300
    job = await plane.add_job(FakeJob(job_body(scan_url=application.url, domain="lingers.localhost")))
    start_daemon()
    await plane.until(lambda: job.state == "running")

    plane.directives = {"adminState": "draining", "drainDeadline": format_instant(datetime.now(UTC) - timedelta(seconds=5))}
    await plane.until(lambda: job.finish is not None)

    assert job.finish is not None
    assert job.finish["endReason"] == "runner_shutdown"


@pytest.mark.parametrize(
    ("code", "more", "outcome"),
    [
        ("runner_revoked", {}, Outcome.REVOKED),
        ("runner_revoked", {"retired": True}, Outcome.RETIRED),
        ("credential_invalid", {}, Outcome.REJECTED),
    ],
)
async def test_heartbeat_with_a_token_that_is_not_accepted_ends_the_daemon(
    code: str, more: dict[str, Any], outcome: Outcome, plane: FakeControlPlane, start_daemon: StartDaemon
) -> None:
    plane.script("/heartbeat", problem(401, code, **more))
    plane.script("/jobs/claim", problem(401, code, **more))
    daemon = start_daemon()

    ended = await daemon.outcome()

    assert ended is outcome
    assert plane.of("/goodbye") == []
