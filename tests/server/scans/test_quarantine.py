"""A runner that takes scans and fails them all at once: kept from them with evidence, tried again with one scan, given back or not."""

from __future__ import annotations

from typing import Any

import pytest

from tests.server.scans.situations import Case, pass_keeping_alive, queued_scan
from tests.support.clock import Clock
from tests.support.control_plane import Plane
from tests.support.people import Organization, Runner

SAID = "The registry cannot be asked."


@pytest.fixture
async def runner(acme: Organization, clock: Clock) -> Runner:
    """Of two slots, with the restart amnesty over."""
    clock.pass_by(seconds=121)
    runner = await acme.runner("hole", configuredConcurrency=2)
    (await runner.beat(configuredConcurrency=2)).raise_for_status()
    return runner


async def fail_at_once(organization: Organization, runner: Runner, clock: Clock) -> Case:
    """A scan of another target, that this runner takes and fails."""
    case = await queued_scan(organization, runner)
    job = await runner.claimed()
    clock.pass_by(seconds=2)
    said = {"status": "failed", "endReason": "image_unavailable", "errorMessage": SAID, "lastSeq": 0}
    (await runner.on_job(job, "finish", **said)).raise_for_status()
    return case


async def quarantined(organization: Organization, runner: Runner, clock: Clock) -> list[Case]:
    return [await fail_at_once(organization, runner, clock) for _ in range(3)]


async def shown(organization: Organization, runner: Runner) -> dict[str, Any]:
    answer: dict[str, Any] = (await organization.get(f"/runners/{runner.id}")).raise_for_status().json()["runner"]
    return answer


async def test_runner_that_fails_three_scans_at_once_is_quarantined_and_everyone_can_see_why(
    acme: Organization, runner: Runner, plane: Plane, clock: Clock
) -> None:
    cases = await quarantined(acme, runner, clock)

    seen, refused = await shown(acme, runner), (await runner.claim()).json()
    assert (seen["status"], seen["statusReasons"], seen["adminState"]) == ("degraded", ["fast_failures"], "quarantined")
    assert seen["adminNote"] == "3 scans in a row failed at once, the latest with image_unavailable."
    assert seen["adminUntil"] == seen["quarantine"]["until"] == "2026-05-03T09:32:39Z"
    assert [(one["scanId"], one["endReason"], one["statusReason"], one["seconds"]) for one in seen["quarantine"]["failures"]] == [
        (case.scan_id, "image_unavailable", SAID, 2.0) for case in reversed(cases)
    ]
    assert (refused["job"], refused["notAccepting"]) == (None, "quarantined")
    blocker = next(check for check in (await cases[0].scan())["waitingFor"]["checks"] if check["code"] == "runner_accepting")
    assert (blocker["ok"], blocker["observed"]) == (False, ["quarantined"])
    assert "hole: 3 scans in a row failed at once" in blocker["message"]
    assert "apviso doctor" in blocker["fix"]
    history = (await acme.get(f"/runners/{runner.id}/history")).json()
    assert history["intervals"][-1]["reasons"] == ["fast_failures"]
    assert [(one["action"], one["actor"], one["failures"]) for one in history["adminChanges"]] == [
        ("runner.quarantined", "system", seen["quarantine"]["failures"])
    ]
    (told,) = [data for type_, data in await plane.told() if type_ == "runner.quarantined"]
    assert (told["runnerId"], told["failures"]) == (runner.id, seen["quarantine"]["failures"])


async def test_scans_that_a_runner_fails_at_once_are_not_lost_but_wait_for_another(
    acme: Organization, runner: Runner, clock: Clock
) -> None:
    cases = await quarantined(acme, runner, clock)
    other = await acme.runner("whole")
    await pass_keeping_alive(clock, 30, runner, other)

    for _ in cases:
        await other.run_whole(await other.claimed())

    assert [await case.ending() for case in cases] == [("completed", "completed")] * 3
    assert (await shown(acme, other))["adminState"] == "enabled"


async def test_quarantined_runner_gets_one_scan_when_its_time_is_over_and_is_given_back_when_that_works(
    acme: Organization, runner: Runner, plane: Plane, clock: Clock
) -> None:
    await quarantined(acme, runner, clock)
    await pass_keeping_alive(clock, 899, runner)
    too_early = (await runner.claim()).json()["notAccepting"]
    clock.pass_by(seconds=1)
    await plane.settle()

    on_trial, job = await shown(acme, runner), await runner.claimed()
    second = (await runner.claim()).json()
    await runner.run_whole(job)

    after = await shown(acme, runner)
    both = [await runner.claimed() for _ in range(2)]
    assert too_early == "quarantined"
    assert (on_trial["status"], on_trial["adminState"], on_trial["quarantine"]["number"]) == ("online", "enabled", 1)
    assert (second["job"], second["notAccepting"]) == (None, "no_free_slot")
    assert (after["adminState"], after["quarantine"]) == ("enabled", None)
    assert len({one["scan"]["id"] for one in (job, *both)}) == 3
    changes = (await acme.get(f"/runners/{runner.id}/history")).json()["adminChanges"]
    assert [one["action"] for one in changes] == ["runner.quarantined", "runner.on_trial", "runner.resumed"]


async def test_quarantined_runner_that_fails_its_trial_is_kept_from_scans_twice_as_long(
    acme: Organization, runner: Runner, plane: Plane, clock: Clock
) -> None:
    await quarantined(acme, runner, clock)
    await pass_keeping_alive(clock, 901, runner)
    await plane.settle()

    job = await runner.claimed()
    await runner.on_job(job, "finish", status="failed", endReason="engine_unavailable", lastSeq=0)

    seen = await shown(acme, runner)
    assert (seen["adminState"], seen["quarantine"]["number"]) == ("quarantined", 2)
    assert seen["quarantine"]["until"] == "2026-05-03T10:02:40Z"
    assert [one["endReason"] for one in seen["quarantine"]["failures"]] == ["engine_unavailable", *["image_unavailable"] * 3]


async def test_quarantined_runner_that_somebody_resumes_begins_anew(acme: Organization, runner: Runner, clock: Clock) -> None:
    await quarantined(acme, runner, clock)

    resumed = (await acme.post(f"/runners/{runner.id}/resume")).json()["runner"]

    clock.pass_by(seconds=1)
    await fail_at_once(acme, runner, clock)
    await fail_at_once(acme, runner, clock)
    two = await shown(acme, runner)
    await fail_at_once(acme, runner, clock)
    assert (resumed["status"], resumed["adminState"], resumed["quarantine"]) == ("online", "enabled", None)
    assert (two["adminState"], two["quarantine"]) == ("enabled", None)
    assert (await shown(acme, runner))["adminState"] == "quarantined"


async def test_runner_that_takes_scans_and_never_starts_them_is_quarantined(
    acme: Organization, runner: Runner, plane: Plane, clock: Clock
) -> None:
    await queued_scan(acme, runner)
    for _ in range(3):
        await runner.claimed()
        await pass_keeping_alive(clock, 60, runner)
        await plane.settle()
        await pass_keeping_alive(clock, 31, runner)

    seen = await shown(acme, runner)
    assert (seen["adminState"], [one["endReason"] for one in seen["quarantine"]["failures"]]) == ("quarantined", ["runner_lost"] * 3)
