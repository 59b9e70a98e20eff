"""Rotation of a runner's token: the runner fetches it itself, and no lost answer locks it out."""

from __future__ import annotations

import pytest

from tests.support.clock import Clock
from tests.support.people import Organization, Runner, register


async def _fetched(runner: Runner) -> Runner:
    answer = (await runner.call("POST", "/token")).raise_for_status().json()
    assert answer["tokenPrefix"] == answer["token"].split("_")[1]
    return Runner(runner.client, runner.id, answer["token"], runner.boot_id)


async def test_rotation_is_asked_of_the_runner_until_it_uses_a_new_token(acme: Organization, runner: Runner) -> None:
    asked = await acme.post(f"/runners/{runner.id}/rotate-token")
    before = (await runner.beat()).json()["directives"]["rotateToken"]

    renewed = await _fetched(runner)

    assert asked.status_code == 200
    assert renewed.token not in asked.text
    assert before is True
    assert (await renewed.beat()).json()["directives"]["rotateToken"] is False
    shown = (await acme.get(f"/runners/{runner.id}")).json()["runner"]
    assert shown["tokenPrefix"] == renewed.token.split("_")[1]


async def test_rotation_keeps_the_old_token_until_the_new_one_is_used(runner: Runner) -> None:
    renewed = await _fetched(runner)
    old_before = (await runner.beat()).status_code

    new = (await renewed.beat()).status_code

    assert (old_before, new) == (200, 200)
    assert (await runner.beat()).json()["code"] == "credential_invalid"


async def test_rotation_whose_answer_was_lost_can_be_asked_for_again(runner: Runner) -> None:
    lost = await _fetched(runner)

    second = await _fetched(runner)

    assert (await lost.beat()).json()["code"] == "credential_invalid"
    assert (await second.beat()).status_code == 200


@pytest.mark.parametrize(("hours", "status"), [(23.9, 200), (24, 401)])
async def test_rotation_keeps_the_old_token_for_a_day_at_most(runner: Runner, clock: Clock, hours: float, status: int) -> None:
    await _fetched(runner)
    clock.pass_by(hours=hours)

    assert (await runner.beat()).status_code == status


async def test_rotation_many_times_leaves_one_working_token(runner: Runner) -> None:
    holders = [runner]
    for _ in range(4):
        holders.append(await _fetched(holders[-1]))
        await holders[-1].beat()

    statuses = [(await holder.beat()).status_code for holder in holders]

    assert statuses == [401, 401, 401, 401, 200]


async def test_rotation_is_audited_without_the_secret(acme: Organization, runner: Runner) -> None:
    renewed = await _fetched(runner)

    events = await acme.get(f"/audit-events?subjectId={runner.id}")

    assert events.json()["auditEvents"][0]["action"] == "runner.token_rotated"
    assert renewed.token.split("_", 2)[2] not in events.text


async def test_rotation_that_is_wanted_before_the_first_use_of_a_token_stays(acme: Organization, clock: Clock) -> None:
    answer = (await register(acme.client, await acme.enrollment_token())).json()
    fresh = Runner(acme.client, answer["runner"]["id"], answer["token"])
    clock.pass_by(seconds=1)

    (await acme.post(f"/runners/{fresh.id}/rotate-token")).raise_for_status()

    assert (await fresh.beat()).json()["directives"]["rotateToken"] is True
    assert (await (await _fetched(fresh)).beat()).json()["directives"]["rotateToken"] is False
