"""Presence as the clock moves: late, silent, back; any call is contact; and the history that it leaves."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest

from apviso.server import housekeeping
from tests.support.clock import Clock
from tests.support.control_plane import Plane
from tests.support.in_turn import in_turn
from tests.support.people import Organization, Runner


async def _status(organization: Organization, runner: Runner) -> tuple[str, list[str]]:
    shown = (await organization.get(f"/runners/{runner.id}")).json()["runner"]
    return shown["status"], shown["statusReasons"]


@pytest.fixture
async def runner(acme: Organization, clock: Clock) -> Runner:
    """Enrolled and reporting, with the restart amnesty over."""
    clock.pass_by(seconds=121)
    return await acme.runner()


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (35, ("online", [])),
        (36, ("degraded", ["heartbeat_late"])),
        (60, ("degraded", ["heartbeat_late"])),
        (61, ("offline", ["no_contact"])),
    ],
)
async def test_status_of_a_silent_runner_changes_with_the_clock_alone(
    acme: Organization, runner: Runner, clock: Clock, seconds: int, expected: tuple[str, list[str]]
) -> None:
    clock.pass_by(seconds=seconds)

    assert await _status(acme, runner) == expected


@pytest.mark.parametrize("call", ["claim", "targets", "token"])
async def test_status_after_any_call_of_the_runner_is_contact(acme: Organization, runner: Runner, clock: Clock, call: str) -> None:
    clock.pass_by(seconds=50)
    match call:
        case "claim":
            await runner.claim()
        case "targets":
            await runner.get("/targets")
        case "token":
            await runner.call("POST", "/token")

    clock.pass_by(seconds=50)

    assert await _status(acme, runner) == ("degraded", ["heartbeat_late"])


async def test_status_after_goodbye_is_offline_until_the_runner_speaks_again(acme: Organization, runner: Runner, clock: Clock) -> None:
    await runner.call("POST", "/goodbye", {"bootId": runner.boot_id, "reason": "host update"})
    said = await _status(acme, runner)

    clock.pass_by(seconds=6)
    await runner.claim()

    assert said == ("offline", ["said_goodbye"])
    assert (await _status(acme, runner))[0] == "online"


async def test_status_right_after_goodbye_changes_with_any_call(acme: Organization, runner: Runner) -> None:
    await runner.call("POST", "/goodbye")

    await runner.claim()

    assert (await _status(acme, runner))[0] == "online"


async def test_status_within_the_amnesty_of_a_restart_is_not_offline(acme: Organization, plane: Plane, clock: Clock) -> None:
    runner = await acme.runner()
    clock.pass_by(seconds=119)
    within = await _status(acme, runner)

    clock.pass_by(seconds=1)

    assert plane.resources.amnesty_until == clock.now
    assert within == ("degraded", ["heartbeat_late"])
    assert await _status(acme, runner) == ("offline", ["no_contact"])


async def test_status_of_two_machines_with_one_identity_is_told(acme: Organization, runner: Runner, clock: Clock) -> None:
    clone = Runner(runner.client, runner.id, runner.token)
    for speaker in (clone, runner):
        clock.pass_by(seconds=15)
        (await speaker.beat()).raise_for_status()
    seen = await _status(acme, runner)

    for _ in range(21):
        clock.pass_by(seconds=15)
        await runner.beat()

    assert seen == ("degraded", ["duplicate_identity"])
    assert await _status(acme, runner) == ("online", [])


async def test_machines_with_one_identity_are_both_kept_from_scans_and_shown_with_their_addresses(
    acme: Organization, runner: Runner, plane: Plane, clock: Clock
) -> None:
    addresses = ["192.0.2.7", "2001:db8::7"]
    machines = [_at(plane, address, runner) for address in addresses]
    for machine in (*machines, *machines):
        clock.pass_by(seconds=8)
        (await machine.beat()).raise_for_status()
    await acme.scan((await acme.target())["id"])

    claims = [(await machine.claim()).json() for machine in machines]

    shown = (await acme.get(f"/runners/{runner.id}")).json()["runner"]
    readiness = (await acme.get("/runners/readiness")).json()
    told = [data for type_, data in await plane.told() if type_ == "runner.degraded"]
    assert [(claim["job"], claim["notAccepting"]) for claim in claims] == [(None, "duplicate_identity")] * 2
    seen = [(boot["bootId"], boot["address"]) for boot in shown["duplicateIdentity"]["boots"]]
    assert seen[:2] == [(machine.boot_id, address) for machine, address in zip(machines[::-1], addresses[::-1], strict=True)]
    assert "192.0.2.7" in readiness["reason"]
    assert "2001:db8::7" in readiness["reason"]
    assert {boot["address"] for boot in told[0]["duplicateIdentity"]["boots"]} >= set(addresses)


def _at(plane: Plane, address: str, runner: Runner) -> Runner:
    """A machine with this address and the identity of `runner`."""
    transport = httpx2.ASGITransport(plane.app, client=(address, 4711))
    return Runner(httpx2.AsyncClient(transport=transport, base_url="http://control-plane"), runner.id, runner.token)


async def test_status_after_an_ordinary_restart_is_online(acme: Organization, runner: Runner) -> None:
    for boot in ("boot-b", "boot-c"):
        runner.boot_id = boot
        await runner.beat()

    assert await _status(acme, runner) == ("online", [])


async def test_heartbeat_answers_how_the_runner_stands(acme: Organization, runner: Runner) -> None:
    answer = await runner.beat(health={"diskFreeBytes": 1})

    assert answer.json() == {
        "runner": {"id": runner.id, "status": "degraded"},
        "heartbeatIntervalMs": 15000,
        "directives": {
            "cancelJobs": [],
            "adminState": "enabled",
            "drainDeadline": None,
            "rotateToken": False,
            "minimumVersion": None,
            "minimumVersionFrom": None,
        },
        "serverTime": "2026-05-03T09:17:33Z",
    }


@in_turn(
    ("change", "field"),
    [
        ({"bootId": ""}, "bootId"),
        ({"beatSeq": -1}, "beatSeq"),
        ({"version": None}, "version"),
        ({"configuredConcurrency": 65}, "configuredConcurrency"),
        ({"runningJobs": [{"jobId": "x"}]}, "runningJobs.0.attempt"),
        ({"health": [1]}, "health"),
    ],
)
async def test_heartbeat_of_bad_shape_is_refused(runner: Runner, change: dict[str, Any], field: str) -> None:
    refused = await runner.beat(**change)

    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, field)


async def test_history_tells_each_stretch_with_its_reason(acme: Organization, runner: Runner, plane: Plane, clock: Clock) -> None:
    for seconds in (36, 30, 34):
        clock.pass_by(seconds=seconds)
        await plane.settle()
    await runner.beat()

    history = (await acme.get(f"/runners/{runner.id}/history")).json()

    assert history["intervals"] == [
        {"status": "offline", "reasons": ["never_contacted"], "since": "2026-05-03T09:17:33Z", "until": "2026-05-03T09:17:33Z"},
        {"status": "online", "reasons": [], "since": "2026-05-03T09:17:33Z", "until": "2026-05-03T09:18:09Z"},
        {"status": "degraded", "reasons": ["heartbeat_late"], "since": "2026-05-03T09:18:09Z", "until": "2026-05-03T09:18:33Z"},
        {"status": "offline", "reasons": ["no_contact"], "since": "2026-05-03T09:18:33Z", "until": "2026-05-03T09:19:13Z"},
        {"status": "online", "reasons": [], "since": "2026-05-03T09:19:13Z", "until": None},
    ]
    assert history["uptimeRatio"] == 0.6
    assert history["heartbeatGaps"] == [{"since": "2026-05-03T09:17:33Z", "until": "2026-05-03T09:19:13Z", "seconds": 100.0}]


async def test_history_shows_the_gap_that_lasts(acme: Organization, runner: Runner, clock: Clock) -> None:
    clock.pass_by(seconds=36)

    gaps = (await acme.get(f"/runners/{runner.id}/history")).json()["heartbeatGaps"]

    assert gaps == [{"since": "2026-05-03T09:17:33Z", "until": None, "seconds": 36.0}]


async def test_history_since_a_time_leaves_out_what_was_before(acme: Organization, runner: Runner, plane: Plane, clock: Clock) -> None:
    clock.pass_by(seconds=100)
    await plane.settle()

    history = (await acme.get(f"/runners/{runner.id}/history", params={"since": "2026-05-03T11:18:43+02:00"})).json()

    assert [one["status"] for one in history["intervals"]] == ["offline"]
    assert history["uptimeRatio"] == 0.0


@in_turn("since", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "yesterday", "2026-05-03T09:15:32"])
async def test_history_since_what_is_no_time_is_refused(acme: Organization, runner: Runner, since: str) -> None:
    refused = await acme.get(f"/runners/{runner.id}/history", params={"since": since})

    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "since")


async def test_history_of_a_revoked_runner_ends_with_it(acme: Organization, runner: Runner, plane: Plane, clock: Clock) -> None:
    clock.pass_by(seconds=10)
    await acme.delete(f"/runners/{runner.id}")
    clock.pass_by(seconds=1000)
    await plane.settle()

    history = (await acme.get(f"/runners/{runner.id}/history")).json()

    assert [(one["status"], one["since"]) for one in history["intervals"]][-1] == ("revoked", "2026-05-03T09:17:43Z")
    assert history["heartbeatGaps"] == []


async def test_heartbeat_that_leaves_facts_out_keeps_them(acme: Organization, runner: Runner) -> None:
    await runner.beat(configuredConcurrency=3)
    before = (await acme.get(f"/runners/{runner.id}")).json()["runner"]

    bare = await runner.call("POST", "/heartbeat", {"bootId": runner.boot_id, "beatSeq": 50, "version": "0.1.1"})
    older = await runner.call(
        "POST", "/heartbeat", {"bootId": runner.boot_id, "beatSeq": 49, "version": "0.0.9", "configuredConcurrency": 1}
    )

    after = (await acme.get(f"/runners/{runner.id}")).json()["runner"]
    assert (bare.status_code, older.status_code) == (200, 200)
    assert after["version"] == "0.1.1"
    for name in ("configuredConcurrency", "capabilities", "providerState", "health"):
        assert after[name] == before[name]


async def _quarter(plane: Plane, runner: Runner | None, **health: int) -> None:
    """A quarter of an hour later, after a heartbeat."""
    plane.clock.pass_by(minutes=15)
    if runner is not None:
        (await runner.beat(health=health)).raise_for_status()
    await housekeeping.run_once(plane.resources, housekeeping.QUARTERLY)


async def test_last_day_of_a_runners_health_is_kept_by_quarters_of_an_hour(
    acme: Organization, other: Organization, runner: Runner, plane: Plane
) -> None:
    await _quarter(plane, runner, diskFreeBytes=10, clockSkewMs=-5)
    await _quarter(plane, runner, diskFreeBytes=20)
    (await runner.beat(health={"diskFreeBytes": 30})).raise_for_status()
    await housekeeping.run_once(plane.resources, housekeeping.QUARTERLY)
    for _ in range(3):
        await _quarter(plane, None)
    told = (await acme.get(f"/runners/{runner.id}/health")).raise_for_status().json()
    plane.clock.pass_by(hours=22, minutes=45)
    await _quarter(plane, runner, diskFreeBytes=40)

    later = (await acme.get(f"/runners/{runner.id}/health")).json()

    kept = [(one["at"], one["diskFreeBytes"], one["clockSkewMs"], one["loadPercent"]) for one in told["samples"]]
    assert kept == [("2026-05-03T09:30:00Z", 10, -5, None), ("2026-05-03T09:45:00Z", 30, None, None)]
    assert (told["since"], told["sampleSeconds"]) == ("2026-05-02T10:45:00Z", 900)
    assert [one["diskFreeBytes"] for one in later["samples"]] == [30, 40]
    assert (await other.get(f"/runners/{runner.id}/health")).status_code == 404


async def test_last_day_of_a_page_of_runners_is_told_in_bars(acme: Organization, other: Organization, runner: Runner, plane: Plane) -> None:
    await acme.runner("second")
    await other.runner("stranger")
    await runner.beat()
    plane.clock.pass_by(minutes=20)
    await plane.settle()
    await runner.beat()
    await plane.settle()

    first = (await acme.get("/runners/uptime?limit=1")).json()
    found = (await acme.get("/runners/uptime?name=SECOND")).json()
    limits = (await acme.get(f"/runners/{runner.id}/history")).json()["limits"]

    assert [one["id"] for one in first["runners"]] == [runner.id]
    assert (first["total"], first["totalPages"], first["barSeconds"], len(first["runners"][0]["bars"])) == (2, 2, 900, 96)
    assert "x" in first["runners"][0]["bars"][-3:]
    assert found["total"] == 1
    assert (limits["heartbeatLateSeconds"], limits["clockSkewMs"]) == (35, 30_000)
