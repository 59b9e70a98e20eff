from __future__ import annotations

import asyncio
from typing import Any

import httpx2
import pytest

from apviso.protocol.wire import RunnerId
from apviso.server.fastlane import write_beats
from apviso.server.settings import Settings
from tests.support.clock import Clock
from tests.support.control_plane import Plane, answered_from_memory
from tests.support.in_turn import in_turn
from tests.support.people import Organization, Runner


@pytest.fixture
def fast_lane() -> bool:
    return True


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Nothing is written behind unless a test does it."""
    return settings.model_copy(update={"presence_flush_seconds": 10})


async def shown(organization: Organization, runner: Runner) -> dict[str, Any]:
    told: dict[str, Any] = (await organization.get(f"/runners/{runner.id}")).json()["runner"]
    return told


async def test_heartbeat_that_says_nothing_new_is_written_behind(plane: Plane, acme: Organization, runner: Runner, clock: Clock) -> None:
    before = (await shown(acme, runner))["lastHeartbeatAt"]
    clock.pass_by(seconds=15)

    (await runner.beat(health={"diskFreeBytes": 7 * 10**9})).raise_for_status()
    unwritten = await shown(acme, runner)
    await write_beats(plane.resources)
    written = await shown(acme, runner)

    assert unwritten["lastHeartbeatAt"] == before
    assert written["lastHeartbeatAt"] > before
    assert written["health"] == {"diskFreeBytes": 7 * 10**9}


def comparable(answer: httpx2.Response) -> tuple[int, Any, dict[str, str]]:
    """Without what is another one in each answer."""
    varying = {"x-request-id", "x-ratelimit-remaining", "x-ratelimit-reset"}
    return answer.status_code, answer.text, {name: value for name, value in answer.headers.items() if name not in varying}


async def test_answer_is_the_same_on_both_ways(plane: Plane, runner: Runner) -> None:
    fast = await runner.beat()
    plane.app.has_fast_lane = False

    documented = await runner.beat()

    assert comparable(fast) == comparable(documented)
    assert {"x-request-id", "x-ratelimit-remaining"} <= set(fast.headers)


async def test_offered_request_id_is_kept_and_an_odd_one_is_not(runner: Runner) -> None:
    said = {"bootId": runner.boot_id, "version": "0.1.0", "lastClaimPollAgeMs": 0}

    async def ask(number: int, offered: str) -> str:
        headers = {"authorization": f"Bearer {runner.token}", "x-request-id": offered}
        answer = await runner.client.post("/api/runner/heartbeat", headers=headers, json={**said, "beatSeq": number})
        return str(answer.raise_for_status().headers["x-request-id"])

    assert await ask(10, "mine-1") == "mine-1"
    assert await ask(11, "not mine/#") != "not mine/#"


@pytest.mark.parametrize(
    "said",
    [
        {"bootId": "another-boot"},
        {"beatSeq": 1},
        {"health": {"diskFreeBytes": 1}},
        {"health": {"faults": ["provider_unconfigured"]}},
        {"lastClaimPollAgeMs": 10**9},
    ],
)
async def test_heartbeat_that_says_something_new_is_written_at_once(
    said: dict[str, Any], plane: Plane, acme: Organization, runner: Runner, clock: Clock
) -> None:
    await write_beats(plane.resources)
    clock.pass_by(seconds=15)

    (await runner.beat(**said)).raise_for_status()

    assert (await shown(acme, runner))["lastHeartbeatAt"] == "2026-05-03T09:15:47Z"
    assert plane.resources.beats.take_unwritten() == {}


async def test_silence_that_history_must_know_of_takes_the_documented_way(acme: Organization, runner: Runner, clock: Clock) -> None:
    clock.pass_by(seconds=50)

    (await runner.beat()).raise_for_status()

    history = (await acme.get(f"/runners/{runner.id}/history")).json()
    assert [gap["seconds"] for gap in history["heartbeatGaps"]] == [50]


@in_turn(
    "sent",
    [
        {"content": b"{", "headers": {"content-type": "application/json"}},
        {"content": b"[]", "headers": {"content-type": "application/json"}},
        {"content": b"{}", "headers": {"content-type": "text/plain"}},
        {"json": {"bootId": "b", "beatSeq": -1, "version": "1"}},
        {"content": b"x" * 2 * 1024**2, "headers": {"content-type": "application/json"}},
    ],
)
async def test_bad_body_is_refused_as_on_the_documented_way(sent: dict[str, Any], plane: Plane, runner: Runner) -> None:
    async def ask() -> httpx2.Response:
        headers = {"authorization": f"Bearer {runner.token}", **sent.get("headers", {})}
        return await runner.client.post("/api/runner/heartbeat", **{**sent, "headers": headers})

    plane.app.has_fast_lane = True
    fast = await ask()
    plane.app.has_fast_lane = False
    documented = await ask()

    assert fast.status_code == documented.status_code >= 400
    assert {**fast.json(), "requestId": ""} == {**documented.json(), "requestId": ""}


async def test_heartbeats_that_come_while_their_runner_is_read_are_all_answered_from_memory(plane: Plane, runner: Runner) -> None:
    plane.resources.beats.forget_everyone()
    before = await answered_from_memory(plane, "heartbeat")

    answers = await asyncio.gather(*(runner.beat() for _ in range(3)))

    assert [answer.status_code for answer in answers] == [200, 200, 200]
    assert await answered_from_memory(plane, "heartbeat") == before + 3


async def test_fault_of_the_fast_lane_itself_costs_no_heartbeat(plane: Plane, runner: Runner) -> None:
    beats, prefix = plane.resources.beats, runner.token.split("_")[1]
    beats.remember(prefix, RunnerId(runner.id), "what is no runner", beats.moment)

    answer = await runner.beat()

    assert (answer.status_code, answer.json()["runner"]["status"]) == (200, "online")
    assert (await runner.claim()).status_code == 200


async def test_runner_that_this_process_has_not_heard_of_is_read_and_answered_from_memory(plane: Plane, runner: Runner) -> None:
    plane.resources.beats.forget_everyone()
    before = await answered_from_memory(plane, "heartbeat")

    (await runner.beat()).raise_for_status()

    assert await answered_from_memory(plane, "heartbeat") == before + 1


@pytest.mark.parametrize("change", ["revoke", "pause", "rotate-token"])
async def test_change_by_a_person_is_told_by_the_very_next_heartbeat(change: str, acme: Organization, runner: Runner) -> None:
    changed = await (acme.delete(f"/runners/{runner.id}") if change == "revoke" else acme.post(f"/runners/{runner.id}/{change}", {}))
    changed.raise_for_status()

    answer = await runner.beat()

    if change == "revoke":
        assert (answer.status_code, answer.json()["code"]) == (401, "runner_revoked")
    else:
        directives = answer.raise_for_status().json()["directives"]
        assert (directives["adminState"], directives["rotateToken"]) == (("paused", False) if change == "pause" else ("enabled", True))


async def test_token_that_a_newer_one_has_replaced_opens_nothing_from_memory(runner: Runner) -> None:
    issued = (await runner.call("POST", "/token")).raise_for_status().json()["token"]
    old, runner.token = runner.token, issued
    (await runner.beat()).raise_for_status()

    runner.token = old

    assert (await runner.beat()).status_code == 401


async def test_wrong_secret_behind_a_remembered_prefix_is_refused(runner: Runner) -> None:
    runner.token = runner.token[:-1] + ("A" if runner.token[-1] != "A" else "B")

    assert (await runner.beat()).status_code == 401


async def test_heartbeat_is_limited_as_on_the_documented_way(plane: Plane, runner: Runner) -> None:
    left = int((await runner.beat()).headers["x-ratelimit-remaining"])

    assert int((await runner.beat()).headers["x-ratelimit-remaining"]) == left - 1


async def test_heartbeats_written_late_change_nothing_that_is_newer(plane: Plane, acme: Organization, runner: Runner, clock: Clock) -> None:
    clock.pass_by(seconds=15)
    (await runner.beat(health={"diskFreeBytes": 7 * 10**9})).raise_for_status()
    late = plane.resources.beats.take_unwritten()
    plane.resources.beats.forget_everyone()
    clock.pass_by(seconds=5)
    (await runner.beat(health={"diskFreeBytes": 8 * 10**9})).raise_for_status()

    plane.resources.beats.give_back(late)
    await write_beats(plane.resources)

    assert (await shown(acme, runner))["health"] == {"diskFreeBytes": 8 * 10**9}


async def test_goodbye_is_not_undone_by_a_heartbeat_that_is_written_late(
    plane: Plane, acme: Organization, runner: Runner, clock: Clock
) -> None:
    clock.pass_by(seconds=15)
    (await runner.beat()).raise_for_status()
    (await runner.call("POST", "/goodbye")).raise_for_status()

    await write_beats(plane.resources)

    assert ((await shown(acme, runner))["status"], (await shown(acme, runner))["statusReasons"]) == ("offline", ["said_goodbye"])
