"""A version that is given up: announced, then without new scans, and never an end of what runs."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from apviso.server.settings import Settings
from tests.server.scans.situations import ENDED, logged, pass_keeping_alive, queued_scan
from tests.support.clock import Clock
from tests.support.control_plane import Plane
from tests.support.people import Organization, Runner

ENDS, ENDS_AT = datetime(2026, 5, 3, 9, 19, 0, tzinfo=UTC), "2026-05-03T09:19:00Z"


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"minimum_runner_version": "1.0.0", "minimum_runner_version_from": ENDS})


async def test_runner_of_a_version_that_is_given_up_finishes_its_scan_and_gets_no_other(
    acme: Organization, runner: Runner, plane: Plane, clock: Clock
) -> None:
    case = await queued_scan(acme, runner)
    job = await case.running()
    before, told = (await acme.get(f"/runners/{runner.id}")).json()["runner"], (await runner.beat()).json()["directives"]
    for _ in range(3):
        await pass_keeping_alive(clock, 100, runner)
        (await runner.on_job(job, "lease")).raise_for_status()
        await plane.settle()
    other = await queued_scan(acme, runner)

    refused = (await runner.claim()).json()
    sent = await runner.on_job(job, "events", events=[logged(1)])
    await runner.on_job(job, "finish", **{**ENDED, "lastSeq": 1})

    after = (await acme.get(f"/runners/{runner.id}")).json()["runner"]
    news = [(data["reason"], data["unsupportedFrom"]) for type_, data in await plane.told() if type_ == "runner.version_deprecated"]
    assert (before["statusReasons"], before["unsupportedFrom"], before["acceptingJobs"]) == (["version_deprecated"], ENDS_AT, True)
    assert (told["minimumVersion"], told["minimumVersionFrom"]) == ("1.0.0", ENDS_AT)
    assert (refused["job"], refused["notAccepting"]) == (None, "version_unsupported")
    assert (sent.json()["ackedSeq"], await case.ending()) == (1, ("completed", "completed"))
    assert (after["statusReasons"], after["unsupportedFrom"], after["acceptingJobs"]) == (["version_unsupported"], ENDS_AT, False)
    assert news == [("version_deprecated", ENDS_AT), ("version_unsupported", ENDS_AT)]
    assert await other.status() == "pending_runner"
