"""One attempt from claim to finish, with the real guard and a fake engine program."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from apviso.runner import execution
from apviso.runner.workspace import Workspace
from tests.runner.conftest import StartDaemon, alive, pids_of
from tests.runner.fake_control_plane import LOST_ANSWER, PROXY_PAGE, FakeControlPlane, FakeJob, Reply, job_body, problem
from tests.runner.target_application import TargetApplication


async def run_to_its_end(plane: FakeControlPlane, start_daemon: StartDaemon, job: FakeJob, **settings: Any) -> dict[str, Any]:
    """The finish that was told."""
    await plane.add_job(job)
    start_daemon(**settings)
    await plane.until(lambda: job.state == "ended", 60)
    return job.finish or {}


async def test_attempt_that_looks_is_completed_with_all_its_events(
    plane: FakeControlPlane, start_daemon: StartDaemon, application: TargetApplication, workspace: Workspace
) -> None:
    job = FakeJob(job_body(scan_url=application.url, domain="finds.localhost"))

    finish = await run_to_its_end(plane, start_daemon, job)

    assert (finish["status"], finish["endReason"], finish["runtimeMetadata"]["requests"]) == ("completed", "completed", 3)
    assert list(job.events) == list(range(1, finish["lastSeq"] + 1))
    assert [message for message in job.messages() if message.startswith("looked")] == [f"looked at {n}" for n in range(600)]
    assert [event["finding"]["title"] for event in job.events.values() if event["type"] == "finding"] == ["Reflected script"]
    assert next(event for event in reversed(job.events.values()) if event["type"] == "stats")["requests"] == 3


async def test_attempt_that_has_ended_leaves_nothing_in_spool_and_jobs(
    plane: FakeControlPlane, start_daemon: StartDaemon, application: TargetApplication, workspace: Workspace
) -> None:
    job = FakeJob(job_body(scan_url=application.url))
    await plane.add_job(job)
    daemon = start_daemon()
    await plane.until(lambda: job.state == "ended")

    await daemon.stop()

    assert [path.name for folder in (workspace.spool, workspace.jobs) for path in folder.iterdir()] == []
    assert [path.name for path in workspace.job_logs.iterdir()] == ["job-1.1.ndjson"]


async def test_attempt_calls_the_control_plane_in_the_order_of_the_contract(
    plane: FakeControlPlane, start_daemon: StartDaemon, application: TargetApplication
) -> None:
    job = FakeJob(job_body(scan_url=application.url))

    await run_to_its_end(plane, start_daemon, job)

    verbs = [call.path.rpartition("/")[2] for call in plane.calls if call.path.startswith("/jobs/job-1/")]
    assert [verb for verb in verbs if verb in {"preflight", "start", "finish"}] == ["preflight", "start", "finish"]
    assert verbs.index("events") > verbs.index("start")
    assert all(call.body["attempt"] == 1 for call in plane.calls if call.path.startswith("/jobs/job-1/"))
    assert job.preflight is not None
    assert set(job.preflight["checks"]) == {"engine", "scanners", "disk", "scope", "target_auth", "target"}


@pytest.mark.slow
async def test_attempt_whose_every_call_loses_its_first_answer_is_told_once(
    plane: FakeControlPlane, start_daemon: StartDaemon, application: TargetApplication
) -> None:
    job = FakeJob(job_body(scan_url=application.url, domain="finds.localhost"))
    for verb in ("preflight", "start", "events", "finish"):
        plane.script(f"/jobs/job-1/{verb}", LOST_ANSWER, PROXY_PAGE, problem(503, "overloaded", retryable=True))

    finish = await run_to_its_end(plane, start_daemon, job)

    assert finish["status"] == "completed"
    assert list(job.events) == list(range(1, finish["lastSeq"] + 1))
    finishes = [call.body for call in plane.job_calls(job, "finish")]
    assert all(body == finishes[0] for body in finishes)


@pytest.mark.parametrize(("domain", "reason"), [("crashes.localhost", "scanner_failed"), ("dies.localhost", "scanner_failed")])
async def test_attempt_whose_scan_breaks_fails_and_never_looks_complete(
    domain: str, reason: str, plane: FakeControlPlane, start_daemon: StartDaemon, application: TargetApplication
) -> None:
    finish = await run_to_its_end(plane, start_daemon, FakeJob(job_body(scan_url=application.url, domain=domain)))

    assert (finish["status"], finish["endReason"], finish["coverage"]["complete"]) == ("failed", reason, False)


async def test_attempt_whose_scan_babbles_keeps_a_bounded_account_of_it(
    plane: FakeControlPlane, start_daemon: StartDaemon, application: TargetApplication
) -> None:
    job = FakeJob(job_body(scan_url=application.url, domain="babbles.localhost"))

    finish = await run_to_its_end(plane, start_daemon, job)

    messages = job.messages()
    assert finish["status"] == "completed"
    assert len([message for message in messages if "not understood: not json" in message]) == 20
    assert "10 more lines of the scan were not understood" in messages
    assert "A line of 100000 bytes was dropped: too long" in messages
    assert "stderr: a complaint on standard error" in messages


@pytest.mark.slow
async def test_attempt_whose_scan_writes_without_end_is_stopped(
    plane: FakeControlPlane, start_daemon: StartDaemon, application: TargetApplication
) -> None:
    finish = await run_to_its_end(plane, start_daemon, FakeJob(job_body(scan_url=application.url, domain="floods.localhost")))

    assert (finish["status"], finish["endReason"]) == ("failed", "scanner_failed")
    assert "more output than it may" in finish["errorMessage"]


@pytest.mark.slow
async def test_attempt_beyond_its_time_is_stopped_as_run_timeout(
    plane: FakeControlPlane, start_daemon: StartDaemon, application: TargetApplication, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(execution, "REPORT_SECONDS", 0.5)
    job = FakeJob(job_body(scan_url=application.url, domain="lingers.localhost", limits={"maxRunSeconds": 2}))

    finish = await run_to_its_end(plane, start_daemon, job)

    assert (finish["status"], finish["endReason"]) == ("failed", "run_timeout")
    assert alive(pids_of(job)) == []


async def test_scan_gets_no_secret_proxy_or_token_by_its_environment(
    plane: FakeControlPlane, start_daemon: StartDaemon, application: TargetApplication, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("APVISO_RUNNER_TOKEN", "APVISO_API_URL", "OPENAI_API_KEY", "HTTPS_PROXY", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "http://canary.invalid")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    job = FakeJob(job_body(scan_url=application.url, domain="shows.localhost"))

    await run_to_its_end(plane, start_daemon, job)

    [shown] = [json.loads(message) for message in job.messages() if message.startswith("{")]
    assert set(shown) <= {"PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "LD_LIBRARY_PATH", "HOME", "TMPDIR", "PYTHONUNBUFFERED"}


async def test_target_credentials_reach_the_target_and_nothing_that_leaves_the_host(
    plane: FakeControlPlane, start_daemon: StartDaemon, application: TargetApplication, workspace: Workspace, tmp_path: Path
) -> None:
    secret = "canary-Secret/of+the target"
    auth = tmp_path / "auth.toml"
    auth.write_text(f'[[targets]]\ndomain = "127.0.0.1"\ntype = "bearer"\ntoken = "{secret}"\n')
    auth.chmod(0o600)
    job = FakeJob(job_body(scan_url=application.url, domain="echoes.localhost"))

    finish = await run_to_its_end(plane, start_daemon, job, target_auth_config_file=auth)

    local = "".join(path.read_text() for path in workspace.job_logs.iterdir())
    assert finish["status"] == "completed"
    assert f"Bearer {secret}" in application.authorizations
    assert "canary" not in plane.received() + local
    assert "the page says hello Bearer ******" in job.messages()
    assert plane.of("/heartbeat")[-1].body["capabilities"]["localTargetAuthConfig"] is True
    job_token = job.body["jobToken"]
    assert job_token not in plane.received()
    assert plane.token.secret not in plane.received()


async def test_scan_may_look_as_each_identity_of_the_order_and_as_nobody_else(
    plane: FakeControlPlane, start_daemon: StartDaemon, application: TargetApplication, tmp_path: Path
) -> None:
    auth = tmp_path / "auth.toml"
    entries = [f'[[targets]]\ndomain = "127.0.0.1"\ntype = "bearer"\ntoken = "token-of-{n}"\nidentity = "{n}"\n' for n in ("admin", "user")]
    auth.write_text("".join(entries))
    auth.chmod(0o600)
    job = FakeJob(job_body(scan_url=application.url, domain="turns.localhost"))

    finish = await run_to_its_end(plane, start_daemon, job, target_auth_config_file=auth)

    told = [message for message in job.messages() if message.startswith(("identities", "as "))]
    assert told == ["identities admin user", "as admin: hello Bearer ******", "as user: hello Bearer ******", "as anonymous: hello ",
                    "as stranger: 403"]  # fmt: skip
    assert application.authorizations[-4:] == ["Bearer token-of-admin", "Bearer token-of-user", "", "Bearer token-of-admin"]
    assert [reason.partition(":")[0] for reason in finish["coverage"]["reasons"]] == ["unknown_identity"]
    assert finish["coverage"]["complete"] is False


async def test_scan_is_told_where_the_target_has_its_document(
    plane: FakeControlPlane, start_daemon: StartDaemon, application: TargetApplication, tmp_path: Path
) -> None:
    auth = tmp_path / "auth.toml"
    auth.write_text('[[targets]]\ndomain = "127.0.0.1"\ntype = "none"\napi_document = "/internal/spec.json"\n')
    auth.chmod(0o600)
    job = FakeJob(job_body(scan_url=application.url, domain="recites.localhost"))

    await run_to_its_end(plane, start_daemon, job, target_auth_config_file=auth)

    [order] = [json.loads(message) for message in job.messages() if message.startswith("{")]
    assert (order["apiDocument"], order["identities"]) == ("/internal/spec.json", [])


async def test_scan_that_declares_no_need_is_given_no_credentials_of_model_providers(
    plane: FakeControlPlane, start_daemon: StartDaemon, application: TargetApplication, workspace: Workspace
) -> None:
    job = FakeJob(job_body(scan_url=application.url, domain="recites.localhost"))
    await plane.add_job(job)
    start_daemon(environ={"ANTHROPIC_API_KEY": "canary-provider-key", "HOME": str(workspace.root)})
    await plane.until(lambda: job.state == "ended", 60)

    [order] = [json.loads(message) for message in job.messages() if message.startswith("{")]
    assert order["providerCredentials"] == {}
    assert "model_provider" not in (job.preflight or {})["checks"]
    assert "canary" not in plane.received()


async def preflight_of(plane: FakeControlPlane, start_daemon: StartDaemon, job: FakeJob, **settings: Any) -> dict[str, Any]:
    await run_to_its_end(plane, start_daemon, job, **settings)
    assert job.preflight is not None
    assert job.finish is None
    return job.preflight


async def test_preflight_of_a_dead_target_fails_and_nothing_is_started(plane: FakeControlPlane, start_daemon: StartDaemon) -> None:
    job = FakeJob(job_body(scan_url="http://127.0.0.1:9/"))

    told = await preflight_of(plane, start_daemon, job)

    assert (told["ok"], told["errorCode"]) == (False, "target_unreachable")
    assert told["checks"]["target"]["remediation"]
    assert plane.job_calls(job, "start") == []


async def test_preflight_outside_the_local_scope_is_refused_and_the_target_is_not_touched(
    plane: FakeControlPlane, start_daemon: StartDaemon, application: TargetApplication, workspace: Workspace
) -> None:
    workspace.scope_file.write_text('hosts = ["only.internal"]\n')

    told = await preflight_of(plane, start_daemon, FakeJob(job_body(scan_url=application.url)))

    assert (told["ok"], told["errorCode"]) == (False, "scope_refused")
    assert application.asked == []


async def test_methods_beyond_the_local_scope_are_refused_by_the_guard_and_told_in_the_coverage(
    plane: FakeControlPlane, start_daemon: StartDaemon, application: TargetApplication, workspace: Workspace
) -> None:
    workspace.scope_file.write_text('cidrs = ["127.0.0.0/8"]\nmethods = ["GET"]\n')
    job = FakeJob(job_body(scan_url=application.url, domain="posts.localhost", limits={"methods": ["GET", "POST"]}))

    finish = await run_to_its_end(plane, start_daemon, job)

    assert (finish["status"], finish["coverage"]["complete"]) == ("completed", False)
    assert finish["coverage"]["reasons"][0] == "methods_out_of_scope: The runner's scope does not permit POST."
    assert {line.partition(" ")[0] for line in application.asked} == {"GET"}
    assert "answer 403" in job.messages()


async def test_preflight_with_no_method_left_in_the_local_scope_is_refused(
    plane: FakeControlPlane, start_daemon: StartDaemon, application: TargetApplication, workspace: Workspace
) -> None:
    workspace.scope_file.write_text('cidrs = ["127.0.0.0/8"]\nmethods = ["POST"]\n')

    told = await preflight_of(plane, start_daemon, FakeJob(job_body(scan_url=application.url)))

    assert (told["ok"], told["errorCode"]) == (False, "scope_refused")
    assert "needs GET" in told["errorMessage"]
    assert application.asked == []


async def test_preflight_with_a_broken_scope_file_refuses_everything(
    plane: FakeControlPlane, start_daemon: StartDaemon, application: TargetApplication, workspace: Workspace
) -> None:
    workspace.scope_file.write_text("hosts = [")

    told = await preflight_of(plane, start_daemon, FakeJob(job_body(scan_url=application.url)))

    assert told["errorCode"] == "scope_refused"
    assert application.asked == []


async def test_preflight_with_an_exposed_credentials_file_fails_with_the_command_that_helps(
    plane: FakeControlPlane, start_daemon: StartDaemon, application: TargetApplication, tmp_path: Path
) -> None:
    auth = tmp_path / "auth.toml"
    auth.write_text("")
    auth.chmod(0o644)

    told = await preflight_of(plane, start_daemon, FakeJob(job_body(scan_url=application.url)), target_auth_config_file=auth)

    assert told["errorCode"] == "invalid_config"
    assert "chmod 600" in told["checks"]["target_auth"]["message"]


def outdated_credentials(folder: Path) -> Path:
    auth = folder / "auth.toml"
    auth.write_text('[[targets]]\ndomain = "127.0.0.1"\ntype = "bearer"\ntoken = "outdated-token"\n')
    auth.chmod(0o600)
    return auth


async def test_preflight_with_credentials_that_lead_to_the_login_is_auth_failed(
    plane: FakeControlPlane, start_daemon: StartDaemon, application: TargetApplication, tmp_path: Path
) -> None:
    auth = outdated_credentials(tmp_path)
    application.redirects, application.bodies = {"/": "/home", "/home": "/login"}, {"/login": b"<input type=password>"}

    told = await preflight_of(plane, start_daemon, FakeJob(job_body(scan_url=application.url)), target_auth_config_file=auth)

    assert (told["ok"], told["errorCode"]) == (False, "auth_failed")
    assert "login" in told["checks"]["target"]["message"]


@pytest.mark.parametrize("location", ["/home", "/logout", "http://other.localhost:9/", "/"])
async def test_preflight_with_credentials_that_lead_to_no_login_passes(
    location: str, plane: FakeControlPlane, start_daemon: StartDaemon, application: TargetApplication, tmp_path: Path
) -> None:
    auth = outdated_credentials(tmp_path)
    application.redirects, application.bodies = {"/": location}, {"/logout": b"<input type=password>"}

    finish = await run_to_its_end(plane, start_daemon, FakeJob(job_body(scan_url=application.url)), target_auth_config_file=auth)

    assert finish["status"] == "completed"
    assert "GET /logout" not in application.asked


async def test_preflight_with_credentials_that_the_target_refuses_is_auth_failed(
    plane: FakeControlPlane, start_daemon: StartDaemon, application: TargetApplication, tmp_path: Path
) -> None:
    auth = outdated_credentials(tmp_path)
    application.status = 401

    told = await preflight_of(plane, start_daemon, FakeJob(job_body(scan_url=application.url)), target_auth_config_file=auth)

    assert told["errorCode"] == "auth_failed"


@pytest.mark.parametrize(
    ("settings", "reason"),
    [({"min_free_disk_bytes": 2**60}, "disk_full"), ({"scanners_dir": "/nonexistent"}, "engine_unavailable")],
)
async def test_preflight_that_fails_by_this_hosts_fault_gives_the_scan_back(
    settings: dict[str, Any], reason: str, plane: FakeControlPlane, start_daemon: StartDaemon, application: TargetApplication
) -> None:
    job = FakeJob(job_body(scan_url=application.url))
    # Given out whatever was asked for: a disk may fill after the claim.
    plane.script("/jobs/claim", Reply(200, {"job": job.body}))

    finish = await run_to_its_end(plane, start_daemon, job, **settings)

    assert (finish["status"], finish["endReason"]) == ("failed", reason)
    assert plane.job_calls(job, "preflight") == []


async def test_scan_program_that_cannot_be_started_gives_the_scan_back(
    plane: FakeControlPlane, start_daemon: StartDaemon, application: TargetApplication
) -> None:
    finish = await run_to_its_end(plane, start_daemon, FakeJob(job_body(scan_url=application.url)), scan_command=("/bin/no-such-program",))

    assert (finish["status"], finish["endReason"]) == ("failed", "engine_unavailable")


async def test_attempt_whose_lease_is_lost_stops_and_tells_nothing_more(
    plane: FakeControlPlane, start_daemon: StartDaemon, application: TargetApplication, workspace: Workspace
) -> None:
    job = FakeJob(job_body(scan_url=application.url, domain="slow.localhost", renewAfterSeconds=1))
    await plane.add_job(job)
    daemon = start_daemon()
    await plane.until(lambda: bool(pids_of(job)))

    job.state = "lost"
    await asyncio.wait_for(daemon.daemon.roster.emptied.wait(), 30)

    assert alive(pids_of(job)) == []
    assert plane.job_calls(job, "finish") == []
    assert list(workspace.spool.iterdir()) == []


async def test_attempt_cancelled_before_its_start_is_told_as_cancelled(
    plane: FakeControlPlane, start_daemon: StartDaemon, application: TargetApplication
) -> None:
    job = FakeJob(job_body(scan_url=application.url), cancelled=True)

    finish = await run_to_its_end(plane, start_daemon, job)

    assert (finish["status"], finish["endReason"]) == ("cancelled", "canceled_by_user")
    assert plane.job_calls(job, "start") == []


async def test_events_that_the_control_plane_lost_are_sent_again_from_where_it_asks(
    plane: FakeControlPlane, start_daemon: StartDaemon, application: TargetApplication
) -> None:
    job = FakeJob(job_body(scan_url=application.url, domain="finds.localhost"))
    plane.script("/jobs/job-1/events", Reply(200, {"ackedSeq": 1}), problem(409, "sequence_gap", expectedSeq=1))

    finish = await run_to_its_end(plane, start_daemon, job)

    assert finish["status"] == "completed"
    assert list(job.events) == list(range(1, finish["lastSeq"] + 1))


async def test_event_that_is_not_accepted_gives_its_place_to_a_note(
    plane: FakeControlPlane, start_daemon: StartDaemon, application: TargetApplication
) -> None:
    job = FakeJob(job_body(scan_url=application.url, domain="finds.localhost"))
    await plane.add_job(job)
    plane.refuse_event = lambda event: event.get("message") == "looked at 300"
    start_daemon()

    await plane.until(lambda: job.state == "ended", 60)

    assert job.finish is not None
    assert job.finish["status"] == "completed"
    assert "looked at 300" not in job.messages()
    assert [message for message in job.messages() if "refused it as invalid_fields" in message] != []
    assert {"looked at 299", "looked at 301"} <= set(job.messages())


async def test_attempt_whose_events_are_gone_for_good_ends_as_upload_incomplete(
    plane: FakeControlPlane, start_daemon: StartDaemon, application: TargetApplication
) -> None:
    job = FakeJob(job_body(scan_url=application.url, domain="finds.localhost"))
    plane.script("/jobs/job-1/events", problem(409, "sequence_gap", expectedSeq=9999))

    await plane.add_job(job)
    start_daemon()
    await plane.until(lambda: bool(plane.job_calls(job, "finish")), 60)

    told = plane.job_calls(job, "finish")[0].body
    assert (told["status"], told["endReason"], told["coverage"]["complete"]) == ("failed", "upload_incomplete", False)


async def test_lease_that_is_renewed_while_the_guard_closes_does_not_change_the_end(
    plane: FakeControlPlane, start_daemon: StartDaemon, application: TargetApplication
) -> None:
    job = FakeJob(job_body(scan_url=application.url, domain="finds.localhost", renewAfterSeconds=0))

    finish = await run_to_its_end(plane, start_daemon, job)

    assert (finish["status"], finish["endReason"]) == ("completed", "completed")
    assert len(plane.job_calls(job, "lease")) > 3
