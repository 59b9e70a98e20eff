"""What people do with a runner: look, edit, pause, resume, drain, rotate, revoke."""

from __future__ import annotations

from typing import Any

import pytest

from tests.server.scans.situations import queued_scan
from tests.support.clock import Clock
from tests.support.control_plane import Plane
from tests.support.in_turn import in_turn
from tests.support.people import Organization, Runner


@pytest.fixture
async def three(acme: Organization, clock: Clock) -> Organization:
    """Runners alpha, which is online, and beta and gamma, which are silent."""
    for name in ("beta", "gamma"):
        await acme.runner(name, labels=["dmz"] if name == "beta" else [])
    clock.pass_by(seconds=200)
    await acme.runner("alpha")
    return acme


async def _shown(organization: Organization, runner: Runner) -> dict[str, Any]:
    shown: dict[str, Any] = (await organization.get(f"/runners/{runner.id}")).raise_for_status().json()["runner"]
    return shown


async def test_runner_shows_what_its_heartbeat_said(acme: Organization, runner: Runner) -> None:
    await runner.beat(
        os="linux",
        arch="x86_64",
        containerEngine="docker",
        configuredConcurrency=2,
        providerState={"modelProvider": "openai-codex"},
        capabilities={"localProviderSecrets": True},
        health={"diskFreeBytes": 10**11},
    )

    assert await _shown(acme, runner) == {
        "id": runner.id,
        "name": "runner-1",
        "tokenPrefix": runner.token.split("_")[1],
        "status": "online",
        "statusReasons": [],
        "adminState": "enabled",
        "adminNote": None,
        "adminUntil": None,
        "drainDeadline": None,
        "quarantine": None,
        "duplicateIdentity": None,
        "maintenanceWindows": [],
        "acceptingJobs": True,
        "version": "0.1.0",
        "unsupportedFrom": None,
        "protocolVersion": 1,
        "os": "linux",
        "arch": "x86_64",
        "labels": [],
        "ephemeral": False,
        "containerEngine": "docker",
        "configuredConcurrency": 2,
        "maxConcurrency": None,
        "currentJobs": 0,
        "providerState": {"modelProvider": "openai-codex"},
        "capabilities": {"localProviderSecrets": True},
        "health": {"diskFreeBytes": 10**11},
        "lastHeartbeatAt": "2026-05-03T09:15:32Z",
        "createdAt": "2026-05-03T09:15:32Z",
    }


async def test_runner_counts_its_live_jobs_from_the_leases(acme: Organization, runner: Runner) -> None:
    case = await queued_scan(acme, runner)
    job = await case.runner.claimed()
    during = (await _shown(acme, runner))["currentJobs"]

    await runner.run_whole(job)

    assert (during, (await _shown(acme, runner))["currentJobs"]) == (1, 0)


async def test_runner_is_renamed_relabelled_and_limited(acme: Organization, runner: Runner) -> None:
    edited = await acme.patch(f"/runners/{runner.id}", {"name": " rack-7 ", "labels": ["a"], "maxConcurrency": 3})

    shown = edited.json()["runner"]
    assert (shown["name"], shown["labels"], shown["maxConcurrency"]) == ("rack-7", ["a"], 3)
    assert (await acme.patch(f"/runners/{runner.id}", {"maxConcurrency": None})).json()["runner"]["maxConcurrency"] is None


async def test_runner_edited_with_nothing_is_unchanged_and_unaudited(acme: Organization, runner: Runner) -> None:
    before = await _shown(acme, runner)

    edited = await acme.patch(f"/runners/{runner.id}", {})

    assert edited.json() == {"runner": before}
    events = (await acme.get(f"/audit-events?subjectId={runner.id}")).json()["auditEvents"]
    assert [event["action"] for event in events] == ["runner.enrolled"]


@in_turn(("body", "field"), [({"name": " "}, "name"), ({"labels": [1]}, "labels.0"), ({"maxConcurrency": 0}, "maxConcurrency")])
async def test_runner_edited_badly_is_refused(acme: Organization, runner: Runner, body: dict[str, object], field: str) -> None:
    refused = await acme.patch(f"/runners/{runner.id}", body)

    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, field)


async def test_runner_paused_and_resumed_stays_online(acme: Organization, runner: Runner) -> None:
    paused = (await acme.post(f"/runners/{runner.id}/pause", {"note": "kernel update"})).json()["runner"]

    resumed = (await acme.post(f"/runners/{runner.id}/resume")).json()["runner"]

    assert (paused["status"], paused["adminState"], paused["adminNote"], paused["acceptingJobs"]) == (
        "online",
        "paused",
        "kernel update",
        False,
    )
    assert (resumed["adminState"], resumed["adminNote"], resumed["acceptingJobs"]) == ("enabled", None, True)


async def test_runner_paused_until_a_time_is_enabled_then(acme: Organization, runner: Runner, plane: Plane, clock: Clock) -> None:
    paused = (await acme.post(f"/runners/{runner.id}/pause", {"until": "2026-05-03T09:15:52+00:00"})).json()["runner"]
    clock.pass_by(seconds=20)
    before_the_timer = await _shown(acme, runner)

    await plane.settle()

    after = await _shown(acme, runner)
    assert (paused["adminState"], paused["adminUntil"]) == ("paused", "2026-05-03T09:15:52Z")
    assert (before_the_timer["adminState"], before_the_timer["acceptingJobs"], before_the_timer["adminUntil"]) == ("enabled", True, None)
    assert after == before_the_timer
    actions = [event["action"] for event in (await acme.get(f"/audit-events?subjectId={runner.id}")).json()["auditEvents"]]
    assert actions[0] == "runner.resumed"


async def test_runner_paused_until_the_past_is_refused(acme: Organization, runner: Runner) -> None:
    refused = await acme.post(f"/runners/{runner.id}/pause", {"until": "2026-05-03T09:15:32Z"})

    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "until")


async def test_runner_drained_is_told_its_deadline(acme: Organization, runner: Runner) -> None:
    drained = (await acme.post(f"/runners/{runner.id}/drain", {"deadlineSeconds": 60, "note": "move"})).json()["runner"]

    told = (await runner.beat()).json()["directives"]
    assert (drained["adminState"], drained["drainDeadline"], drained["adminNote"]) == ("draining", "2026-05-03T09:16:32Z", "move")
    assert (told["adminState"], told["drainDeadline"]) == ("draining", "2026-05-03T09:16:32Z")


async def test_runner_revoked_is_listed_only_when_asked_for(acme: Organization, runner: Runner) -> None:
    revoked = [await acme.delete(f"/runners/{runner.id}") for _ in range(2)]

    assert [answer.status_code for answer in revoked] == [204, 204]
    assert (await acme.get("/runners")).json()["runners"] == []
    listed = (await acme.get("/runners?status=revoked")).json()["runners"]
    assert [(one["id"], one["status"], one["acceptingJobs"]) for one in listed] == [(runner.id, "revoked", False)]
    events = (await acme.get(f"/audit-events?subjectId={runner.id}")).json()["auditEvents"]
    assert [event["action"] for event in events].count("runner.revoked") == 1


@in_turn("call", ["/heartbeat", "/jobs/claim", "/token", "/goodbye"])
async def test_runner_revoked_is_told_so_on_every_call(acme: Organization, runner: Runner, call: str) -> None:
    await acme.delete(f"/runners/{runner.id}")

    refused = await runner.call("POST", call, {"bootId": "b", "beatSeq": 1, "version": "0.1.0", "nonce": "n"})

    assert (refused.status_code, refused.json()["code"]) == (401, "runner_revoked")


@in_turn("call", ["pause", "resume", "drain", "rotate-token", "patch"])
async def test_runner_revoked_cannot_be_changed(acme: Organization, runner: Runner, call: str) -> None:
    await acme.delete(f"/runners/{runner.id}")

    refused = await (acme.patch(f"/runners/{runner.id}", {"name": "x"}) if call == "patch" else acme.post(f"/runners/{runner.id}/{call}"))

    assert (refused.status_code, refused.json()["code"]) == (409, "runner_is_revoked")


@in_turn(
    ("method", "path"),
    [("GET", ""), ("PATCH", ""), ("DELETE", ""), ("GET", "/history"), ("GET", "/health"), ("POST", "/pause"), ("POST", "/resume"),
     ("POST", "/drain"), ("POST", "/rotate-token")],
)  # fmt: skip
async def test_runner_of_another_organization_is_not_found(
    acme: Organization, other: Organization, runner: Runner, method: str, path: str
) -> None:
    before = await _shown(acme, runner)

    refused = await other.call(method, f"/runners/{runner.id}{path}", json={} if method in ("PATCH", "POST") else None)

    assert (refused.status_code, refused.json()["code"]) == (404, "runner_not_found")
    assert await _shown(acme, runner) == before
    assert (await other.get("/runners")).json()["runners"] == []


@in_turn(
    ("query", "expected"),
    [
        ("", ["alpha", "beta", "gamma"]),
        ("?status=online", ["alpha"]),
        ("?status=offline", ["beta", "gamma"]),
        ("?label=dmz", ["beta"]),
        ("?name=A", ["alpha", "beta", "gamma"]),
        ("?name=LPH", ["alpha"]),
        ("?label=none", []),
        ("?page=2&limit=2", ["alpha"]),
    ],
)
async def test_list_of_runners_is_filtered(three: Organization, query: str, expected: list[str]) -> None:
    listed = (await three.get(f"/runners{query}")).json()

    assert sorted(one["name"] for one in listed["runners"]) == expected
    assert len(listed["readiness"]["runners"]) == 3


@in_turn("query", ["status=asleep", "page=0", "limit=101"])
async def test_list_of_runners_with_a_bad_query_is_refused(acme: Organization, query: str) -> None:
    refused = await acme.get(f"/runners?{query}")

    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, query.partition("=")[0])


async def test_somebody_at_the_host_pauses_drains_and_resumes_its_runner(acme: Organization, runner: Runner) -> None:
    paused = (await runner.call("POST", "/pause", {"note": "kernel update"})).json()
    shown_paused = (await acme.get(f"/runners/{runner.id}")).json()["runner"]
    drained = (await runner.call("POST", "/drain", {"deadlineSeconds": 60})).json()
    resumed = (await runner.call("POST", "/resume")).json()

    assert (paused["adminState"], shown_paused["adminState"], shown_paused["adminNote"]) == ("paused", "paused", "kernel update")
    assert shown_paused["acceptingJobs"] is False
    assert (drained["adminState"], drained["drainDeadline"] is not None, resumed["adminState"]) == ("draining", True, "enabled")
    changes = (await acme.get(f"/runners/{runner.id}/history")).json()["adminChanges"]
    said = [("runner.paused", f"runner:{runner.id}"), ("runner.draining", f"runner:{runner.id}"), ("runner.resumed", f"runner:{runner.id}")]
    assert [(change["action"], change["actor"]) for change in changes] == said


@in_turn("call", ["/pause", "/drain", "/resume"])
async def test_host_does_not_undo_what_people_of_the_control_plane_decided(acme: Organization, runner: Runner, call: str) -> None:
    await runner.call("POST", "/pause")
    await acme.post(f"/runners/{runner.id}/drain", json={"deadlineSeconds": 60})

    refused = await runner.call("POST", call)

    assert (refused.status_code, refused.json()["code"]) == (409, "admin_state_held")
    assert (await acme.get(f"/runners/{runner.id}")).json()["runner"]["adminState"] == "draining"
