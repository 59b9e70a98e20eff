"""Enrollment tokens, as people issue, list and revoke them."""

from __future__ import annotations

import json
import re
from datetime import timedelta

from tests.support.clock import Clock
from tests.support.control_plane import Plane
from tests.support.in_turn import in_turn
from tests.support.people import Organization, register

PATH = "/runners/enrollment-tokens"


async def test_token_is_issued_with_its_prefix_and_end(acme: Organization) -> None:
    issued = await acme.post(PATH, {"name": "prod-runner-1"})

    body = issued.json()
    assert issued.status_code == 201
    assert re.fullmatch(r"apve_[0-9a-f]{12}_[A-Za-z0-9_-]{43}", body["token"])
    assert body == {"token": body["token"], "tokenPrefix": body["token"].split("_")[1], "expiresAt": "2026-05-03T09:45:32Z"}


async def test_token_is_issued_without_a_body(acme: Organization) -> None:
    issued = await acme.call("POST", PATH)

    assert issued.status_code == 201


async def test_token_is_shown_once_and_never_kept(acme: Organization) -> None:
    token = await acme.enrollment_token(name="prod-runner-1", labels=["a"], ephemeral=True)

    listed = await acme.get(PATH)

    secret = token.split("_", 2)[2]
    assert secret not in listed.text
    assert secret not in (await acme.get("/audit-events")).text
    assert listed.json()["enrollmentTokens"] == [
        {
            "tokenPrefix": token.split("_")[1],
            "name": "prod-runner-1",
            "labels": ["a"],
            "ephemeral": True,
            "createdAt": "2026-05-03T09:15:32Z",
            "expiresAt": "2026-05-03T09:45:32Z",
        }
    ]


async def test_list_of_tokens_leaves_out_what_nobody_can_use(acme: Organization, other: Organization, clock: Clock) -> None:
    await acme.enrollment_token(name="expired", expiresInSeconds=300)
    await register(acme.client, await acme.enrollment_token(name="used"))
    revoked = await acme.enrollment_token(name="revoked")
    await acme.delete(f"{PATH}/{revoked.split('_')[1]}")
    await other.enrollment_token(name="of-another")
    await acme.enrollment_token(name="good")
    clock.pass_by(seconds=300)

    listed = (await acme.get(PATH)).json()

    assert ([one["name"] for one in listed["enrollmentTokens"]], listed["total"]) == (["good"], 1)


@in_turn(("seconds", "status"), [(299, 422), (300, 201), (86400, 201), (86401, 422)])
async def test_token_lives_between_five_minutes_and_a_day(acme: Organization, clock: Clock, seconds: int, status: int) -> None:
    issued = await acme.post(PATH, {"expiresInSeconds": seconds})

    assert issued.status_code == status
    if status == 201:
        end = clock.now + timedelta(seconds=seconds)
        assert issued.json()["expiresAt"] == end.strftime("%Y-%m-%dT%H:%M:%SZ")


@in_turn("body", [{"name": ""}, {"name": "x" * 121}, {"labels": [""]}, {"labels": ["x"] * 33}, {"ephemeral": "perhaps"}])
async def test_token_with_a_bad_body_is_refused(acme: Organization, body: dict[str, object]) -> None:
    refused = await acme.post(PATH, body)

    assert (refused.status_code, refused.json()["errors"][0]["field"].split(".")[0]) == (422, next(iter(body)))


async def test_token_issued_again_under_one_idempotency_key_is_not_shown_again(acme: Organization) -> None:
    headers = {"Idempotency-Key": "once"}
    await acme.post(PATH, {}, headers=headers)

    again = await acme.post(PATH, {}, headers=headers)

    assert (again.status_code, again.json()["code"]) == (409, "already_issued")
    assert (await acme.get(PATH)).json()["total"] == 1


async def test_token_revoked_cannot_be_revoked_again(acme: Organization) -> None:
    prefix = (await acme.enrollment_token()).split("_")[1]

    first, second = await acme.delete(f"{PATH}/{prefix}"), await acme.delete(f"{PATH}/{prefix}")

    assert (first.status_code, second.status_code, second.json()["code"]) == (204, 404, "enrollment_token_not_found")


async def test_token_of_another_organization_cannot_be_revoked(acme: Organization, other: Organization) -> None:
    prefix = (await acme.enrollment_token()).split("_")[1]

    refused = await other.delete(f"{PATH}/{prefix}")

    assert (refused.status_code, refused.json()["code"]) == (404, "enrollment_token_not_found")
    assert (await acme.get(PATH)).json()["total"] == 1


async def test_token_changes_are_audited_without_the_secret(acme: Organization) -> None:
    token = await acme.enrollment_token(name="prod-runner-1")
    prefix = token.split("_")[1]
    await acme.delete(f"{PATH}/{prefix}")

    events = (await acme.get(f"/audit-events?subjectId={prefix}")).json()["auditEvents"]

    assert [event["action"] for event in reversed(events)] == ["enrollment_token.created", "enrollment_token.revoked"]
    assert token not in json.dumps(events)


async def test_outstanding_token_is_shown_by_its_prefix_until_it_is_used(acme: Organization, other: Organization) -> None:
    token = await acme.enrollment_token(name="north")
    prefix = token.split("_")[1]

    shown = await acme.get(f"/runners/enrollment-tokens/{prefix}")
    hidden = await other.get(f"/runners/enrollment-tokens/{prefix}")
    await register(acme.client, token)
    used = await acme.get(f"/runners/enrollment-tokens/{prefix}")

    assert (shown.json()["enrollmentToken"]["tokenPrefix"], shown.json()["enrollmentToken"]["name"]) == (prefix, "north")
    assert token.split("_", 2)[2] not in shown.text
    assert [(answer.status_code, answer.json()["code"]) for answer in (hidden, used)] == [(404, "enrollment_token_not_found")] * 2


async def test_outcome_of_a_token_is_told_when_it_can_no_longer_be_used(plane: Plane, acme: Organization, other: Organization) -> None:
    used, revoked, expired, left = [await acme.enrollment_token(name=f"r{number}", expiresInSeconds=600 + number) for number in range(4)]
    runner_id = (await register(acme.client, used)).json()["runner"]["id"]
    await acme.delete(f"{PATH}/{revoked.split('_')[1]}")
    plane.clock.pass_by(seconds=602)

    told = [(await acme.get(f"{PATH}/{token.split('_')[1]}/outcome")).json()["outcome"] for token in (used, revoked, expired, left)]
    hidden = await other.get(f"{PATH}/{used.split('_')[1]}/outcome")

    assert [one["status"] for one in told] == ["used", "revoked", "expired", "outstanding"]
    assert [one["runnerId"] for one in told] == [runner_id, None, None, None]
    assert told[2]["endedAt"] == told[2]["expiresAt"]
    assert used.split("_", 2)[2] not in json.dumps(told)
    assert (hidden.status_code, hidden.json()["code"]) == (404, "enrollment_token_not_found")
