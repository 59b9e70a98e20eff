"""The exchange of an enrollment token: once, whatever gets lost, and told what is wrong only with the right secret."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from apviso.protocol.tokens import Namespace, new_token
from apviso.server.settings import Settings
from tests.support.clock import Clock
from tests.support.in_turn import in_turn
from tests.support.people import Organization, Runner, register

KEY = "a-random-exchange-key"


def _runner(organization: Organization, registered: dict[str, Any]) -> Runner:
    return Runner(organization.client, registered["runner"]["id"], registered["token"])


async def _count(organization: Organization) -> int:
    return len((await organization.get("/runners")).json()["runners"])


async def test_register_with_a_fresh_token_gives_a_runner_its_own_token(acme: Organization) -> None:
    token = await acme.enrollment_token(name="suggested", labels=["a", "b"])

    registered = await register(acme.client, token, labels=["b", "c"], os="linux", arch="x86_64", containerEngine="docker")

    body = registered.json()
    assert registered.status_code == 201
    assert body == {
        "token": body["token"],
        "runner": {"id": body["runner"]["id"], "name": "suggested"},
        "heartbeatIntervalMs": 15000,
        "serverTime": "2026-05-03T09:15:32Z",
    }
    assert body["token"].startswith("apvr_")
    shown = (await acme.get(f"/runners/{body['runner']['id']}")).json()["runner"]
    assert (shown["labels"], shown["status"], shown["statusReasons"]) == (["a", "b", "c"], "offline", ["never_contacted"])
    assert (shown["os"], shown["arch"], shown["containerEngine"], shown["ephemeral"]) == ("linux", "x86_64", "docker", False)


@pytest.mark.parametrize(
    ("suggested", "told", "expected"),
    [("suggested", None, "suggested"), ("suggested", "own", "own"), (None, "own", "own"), (None, None, "runner-")],
)
async def test_register_takes_the_runners_own_name_first(
    acme: Organization, suggested: str | None, told: str | None, expected: str
) -> None:
    token = await acme.enrollment_token(name=suggested)

    registered = await register(acme.client, token, name=told)

    assert registered.json()["runner"]["name"].startswith(expected)


async def test_register_twice_with_one_token_is_refused(acme: Organization) -> None:
    token = await acme.enrollment_token()
    await register(acme.client, token)

    refused = await register(acme.client, token)

    assert (refused.status_code, refused.json()["code"]) == (409, "enrollment_token_used")
    assert await _count(acme) == 1


@pytest.mark.parametrize("key", [None, KEY])
async def test_register_sixteen_times_at_once_makes_one_runner(acme: Organization, key: str | None) -> None:
    token = await acme.enrollment_token()

    answers = await asyncio.gather(*(register(acme.client, token, exchangeKey=key) for _ in range(16)))

    statuses = [answer.status_code for answer in answers]
    assert statuses.count(201) == (1 if key is None else 16)
    assert {answer.json()["code"] for answer in answers if answer.status_code != 201} <= {"enrollment_token_used"}
    assert len({answer.json()["runner"]["id"] for answer in answers if answer.status_code == 201}) == 1
    assert await _count(acme) == 1


async def test_register_again_with_the_exchange_key_gives_the_same_runner_a_fresh_token(acme: Organization) -> None:
    token = await acme.enrollment_token()
    first = (await register(acme.client, token, exchangeKey=KEY)).json()

    second = (await register(acme.client, token, exchangeKey=KEY)).json()

    assert second["runner"] == first["runner"]
    assert second["token"] != first["token"]
    assert (await _runner(acme, first).beat()).json()["code"] == "credential_invalid"
    assert (await _runner(acme, second).beat()).status_code == 200
    assert await _count(acme) == 1
    shown = (await acme.get(f"/runners/{first['runner']['id']}")).json()["runner"]
    assert shown["tokenPrefix"] == second["token"].split("_")[1]


@pytest.mark.parametrize("key", [None, "another-exchange-key"])
async def test_register_again_with_another_exchange_key_is_refused(acme: Organization, key: str | None) -> None:
    token = await acme.enrollment_token()
    first = (await register(acme.client, token, exchangeKey=KEY)).json()

    refused = await register(acme.client, token, exchangeKey=key)

    assert refused.json()["code"] == "enrollment_token_used"
    assert (await _runner(acme, first).beat()).status_code == 200


@pytest.mark.parametrize(("seconds", "status"), [(600, 201), (601, 409)])
async def test_register_again_with_the_exchange_key_works_for_ten_minutes(
    acme: Organization, clock: Clock, seconds: int, status: int
) -> None:
    token = await acme.enrollment_token()
    await register(acme.client, token, exchangeKey=KEY)
    clock.pass_by(seconds=seconds)

    again = await register(acme.client, token, exchangeKey=KEY)

    assert again.status_code == status


async def test_register_again_after_the_runner_was_revoked_is_refused(acme: Organization) -> None:
    token = await acme.enrollment_token()
    first = (await register(acme.client, token, exchangeKey=KEY)).json()
    await acme.delete(f"/runners/{first['runner']['id']}")

    refused = await register(acme.client, token, exchangeKey=KEY)

    assert (refused.status_code, refused.json()["code"]) == (409, "enrollment_token_used")


async def test_register_with_an_expired_token_is_told_so(acme: Organization, clock: Clock) -> None:
    token = await acme.enrollment_token()
    clock.pass_by(seconds=1800)

    refused = await register(acme.client, token)

    assert (refused.status_code, refused.json()["code"]) == (409, "enrollment_token_expired")


async def test_register_with_a_revoked_token_is_told_so(acme: Organization) -> None:
    token = await acme.enrollment_token()
    await acme.delete(f"/runners/enrollment-tokens/{token.split('_')[1]}")

    refused = await register(acme.client, token)

    assert (refused.status_code, refused.json()["code"]) == (409, "enrollment_token_revoked")


@pytest.mark.parametrize("state", ["good", "used", "revoked", "expired", "unknown"])
async def test_register_with_the_wrong_secret_learns_nothing_of_the_token(acme: Organization, clock: Clock, state: str) -> None:
    token = await acme.enrollment_token()
    prefix = token.split("_")[1]
    match state:
        case "used":
            await register(acme.client, token)
        case "revoked":
            await acme.delete(f"/runners/enrollment-tokens/{prefix}")
        case "expired":
            clock.pass_by(hours=1)
        case "unknown":
            prefix = "000000000000"
    forged = f"apve_{prefix}_{new_token(Namespace.ENROLLMENT).secret}"

    refused = await register(acme.client, forged)

    assert (refused.status_code, refused.json()["code"]) == (401, "enrollment_token_invalid")
    assert refused.json()["error"] == "This enrollment token is not known; create a new one and copy it whole."


@in_turn("text", ["nonsense", "apve_abc", " ", "apvk_a1b2c3d4e5f6_" + "A" * 43])
async def test_register_with_what_is_no_enrollment_token_is_refused(acme: Organization, text: str) -> None:
    refused = await register(acme.client, text)

    assert (refused.status_code, refused.json()["code"]) == (401, "enrollment_token_invalid")


async def test_register_with_other_live_tokens_is_refused(acme: Organization, runner: Runner) -> None:
    answers = [await register(acme.client, token) for token in (acme.key, runner.token)]

    assert [answer.json()["code"] for answer in answers] == ["enrollment_token_invalid"] * 2


@in_turn(
    ("change", "field"),
    [
        ({"version": None}, "version"),
        ({"configuredConcurrency": 0}, "configuredConcurrency"),
        ({"exchangeKey": ""}, "exchangeKey"),
        ({"labels": "a"}, "labels"),
        ({"capabilities": []}, "capabilities"),
        ({"protocolVersion": 0}, "protocolVersion"),
    ],
)
async def test_register_with_a_bad_body_is_refused_and_the_token_still_good(
    acme: Organization, change: dict[str, object], field: str
) -> None:
    token = await acme.enrollment_token()

    refused = await register(acme.client, token, **change)

    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, field)
    assert (await register(acme.client, token)).status_code == 201


async def test_register_beyond_the_runner_limit_is_refused_and_the_token_still_good(acme: Organization) -> None:
    first = await acme.runner("runner-0")
    for number in range(1, 10):
        await register(acme.client, await acme.enrollment_token(), name=f"runner-{number}")
    token = await acme.enrollment_token()

    refused = await register(acme.client, token)

    assert (refused.status_code, refused.json()["code"]) == (402, "license_limit_reached")
    assert (refused.json()["limit"], refused.json()["observed"]) == (10, 10)
    await acme.delete(f"/runners/{first.id}")
    assert (await register(acme.client, token)).status_code == 201


async def test_register_is_audited_and_named_after_its_token(acme: Organization) -> None:
    token = await acme.enrollment_token()

    registered = (await register(acme.client, token, name="prod-runner-1")).json()

    event = (await acme.get(f"/audit-events?subjectId={registered['runner']['id']}")).json()["auditEvents"][0]
    assert (event["action"], event["actor"], event["details"]) == (
        "runner.enrolled",
        f"enrollment:{token.split('_')[1]}",
        {"name": "prod-runner-1"},
    )


class TestNarrowLimit:
    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        return settings.model_copy(update={"enrollments_per_minute": 2})

    async def test_register_over_the_limit_of_its_address_is_slowed_down(self, acme: Organization) -> None:
        answers = [await register(acme.client, "nonsense") for _ in range(3)]

        assert [answer.status_code for answer in answers] == [401, 401, 429]
        assert 0 < int(answers[-1].headers["retry-after"]) <= 60
        assert (await acme.get("/runners")).status_code == 200
