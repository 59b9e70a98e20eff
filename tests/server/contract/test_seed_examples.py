"""The three endpoints that everything began with: their published examples, field by field; only ids and times are this test's."""

from __future__ import annotations

import base64
from datetime import timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from apviso.protocol.wire import OrganizationId
from apviso.server.licensing import store as licenses
from apviso.server.licensing.current import ISSUER_FILE
from apviso.server.licensing.license import Terms, sign
from tests.support.clock import Clock
from tests.support.control_plane import Plane
from tests.support.people import Organization, Runner

RUNNER: dict[str, Any] = {
    "name": "prod-runner-1",
    "status": "online",
    "version": "0.1.0",
    "containerEngine": "docker",
    "configuredConcurrency": 1,
    "currentJobs": 0,
    "providerState": {"modelProvider": "openai-codex", "embeddingProvider": "local"},
    "capabilities": {"localProviderSecrets": True, "localTargetAuthConfig": True},
    "lastHeartbeatAt": "2026-05-03T09:15:32Z",
}
LICENSE_IN_LIST: dict[str, Any] = {
    "plan": "team",
    "licenseState": "active",
    "runnerLimit": 10,
    "concurrentJobLimit": 10,
    "targetLimit": 25,
    "allowedTargetVisibilities": ["public", "staging_preview", "private_internal", "localhost"],
}
LICENSE_IN_READINESS: dict[str, Any] = {
    "plan": "team",
    "licenseState": "active",
    "canRegisterRunner": True,
    "canStartSelfHostedScan": True,
    "runnerLimit": 10,
    "concurrentJobLimit": 10,
}


@pytest.fixture
async def team(plane: Plane, acme: Organization, clock: Clock) -> Organization:
    """The organization under a team license, signed by an issuer whom the host trusts."""
    issuer = Ed25519PrivateKey.generate()
    limits = {"runner_limit": 10, "concurrent_job_limit": 10, "target_limit": 25}
    times = {"issued_at": clock.now, "expires_at": clock.now + timedelta(days=365)}
    allowed = {"allowed_target_visibilities": LICENSE_IN_LIST["allowedTargetVisibilities"]}
    terms = Terms.model_validate({"license_id": "L-1", "organization": "Acme", "plan": "team", **limits, **times, **allowed})
    trusted = plane.resources.settings.data_dir / ISSUER_FILE
    trusted.write_bytes(base64.b64encode(issuer.public_key().public_bytes_raw()))
    async with plane.resources.database.writing() as work:
        await licenses.install(work, OrganizationId(acme.id), sign(terms, issuer))
    return acme


@pytest.fixture
async def runner(team: Organization) -> Runner:
    said = {name: RUNNER[name] for name in ("version", "containerEngine", "providerState", "capabilities")}
    runner = await team.runner("prod-runner-1", **said)
    (await runner.beat(**said)).raise_for_status()
    return runner


def _covers(answer: Any, example: Any) -> bool:
    """Whether every field of the example is in the answer with the same value; the answer may say more."""
    if isinstance(example, dict):
        return isinstance(answer, dict) and all(name in answer and _covers(answer[name], value) for name, value in example.items())
    if isinstance(example, list):
        return isinstance(answer, list) and len(answer) == len(example) and all(map(_covers, answer, example))
    return bool(answer == example and type(answer) is type(example))


async def test_list_of_runners_answers_as_published(team: Organization, runner: Runner) -> None:
    answer = (await team.get("/runners")).json()

    example = {
        "runners": [{"id": runner.id, "tokenPrefix": runner.token.split("_")[1], **RUNNER}],
        "readiness": {
            "ready": True,
            "visibilityOk": True,
            "runnerOk": True,
            "selectedRunnerId": runner.id,
            "license": LICENSE_IN_LIST,
            "runners": [{"id": runner.id, "name": "prod-runner-1", "status": "online"}],
        },
    }
    assert _covers(answer, example), answer
    assert answer["runners"][0]["providerState"] == RUNNER["providerState"]
    assert answer["runners"][0]["capabilities"] == RUNNER["capabilities"]


async def test_readiness_of_a_private_target_answers_as_published(team: Organization, runner: Runner) -> None:
    target = await team.target("intranet.example.com", "private_internal")

    answer = (await team.get(f"/runners/readiness?targetId={target['id']}")).json()

    example = {
        "ready": True,
        "visibility": "private_internal",
        "visibilityOk": True,
        "runnerOk": True,
        "selectedRunnerId": runner.id,
        "license": LICENSE_IN_READINESS,
        "runners": [{"id": runner.id, "name": "prod-runner-1", "status": "online", "configuredConcurrency": 1, "currentJobs": 0}],
    }
    assert _covers(answer, example), answer


async def test_list_and_readiness_share_one_shape(team: Organization, runner: Runner) -> None:
    listed = (await team.get("/runners")).json()["readiness"]

    asked = (await team.get("/runners/readiness")).json()

    assert listed == asked
    assert set(asked) == {
        "ready", "visibility", "visibilityOk", "runnerOk", "capacityOk", "selectedRunnerId", "reason", "primaryBlocker", "checks",
        "estimatedStartAt", "license", "runners", "runnerCounts",
    }  # fmt: skip
    assert asked["visibility"] is None


async def test_enrollment_token_answers_as_published(team: Organization) -> None:
    issued = await team.post("/runners/enrollment-tokens", {"name": "prod-runner-1"})

    token = issued.json()["token"]
    assert issued.status_code == 201
    assert issued.json() == {"token": token, "tokenPrefix": token.split("_")[1], "expiresAt": "2026-05-03T09:45:32Z"}
    assert token.startswith("apve_")


@pytest.mark.parametrize(
    ("answer", "example", "expected"),
    [
        ({"a": 1, "b": 2}, {"a": 1}, True),
        ({"a": {}}, {"a": {"b": 1}}, False),
        ({"a": [1]}, {"a": [1, 2]}, False),
        ({"a": 1}, {"a": True}, False),
    ],
)
def test_comparison_with_an_example_finds_what_is_missing(answer: Any, example: Any, expected: bool) -> None:
    assert _covers(answer, example) is expected
