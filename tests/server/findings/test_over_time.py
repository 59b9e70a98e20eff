"""How things stood over time: slots and queue, new findings day by day, and which scans saw a finding."""

from __future__ import annotations

from typing import Any

from tests.server.scans.situations import ENDED, Case, found, queued_scan
from tests.support.clock import Clock
from tests.support.people import Organization, Runner

Job = dict[str, Any]


async def test_load_tells_slots_in_use_and_scans_that_waited(acme: Organization, runner: Runner, other: Organization, clock: Clock) -> None:
    first, second = await queued_scan(acme, runner), await queued_scan(acme, runner)
    clock.pass_by(minutes=30)
    await runner.beat()
    job = await first.running()
    clock.pass_by(minutes=30)
    await runner.on_job(job, "finish", **ENDED)
    await second.cancel()
    clock.pass_by(minutes=30)

    moments = (await acme.get("/scans/load")).raise_for_status().json()["moments"]

    assert len(moments) == 49
    assert [(one["running"], one["queued"]) for one in moments[-5:]] == [(0, 0), (0, 2), (1, 1), (0, 0), (0, 0)]
    assert moments[-1]["at"] == "2026-05-03T10:45:32Z"
    assert {(one["running"], one["queued"]) for one in (await other.get("/scans/load")).json()["moments"]} == {(0, 0)}


async def test_trend_counts_a_finding_on_the_day_that_it_was_new(case: Case, job: Job, other: Organization, clock: Clock) -> None:
    await case.runner.on_job(job, "events", events=[found(1, severity="critical"), found(2, severity="low", parameter="r")])
    await case.runner.on_job(job, "finish", **{**ENDED, "lastSeq": 2})
    clock.pass_by(days=2)
    await case.runner.beat()
    await case.organization.scan(case.target["id"])
    again = await case.runner.claimed()
    await case.runner.run_whole(again, found(1, severity="critical"), found(2, severity="high", parameter="s"))

    days = (await case.organization.get("/findings/trend")).raise_for_status().json()["days"]

    assert len(days) == 30
    assert days[-1] == {"day": "2026-05-05", "counts": {"critical": 0, "high": 1, "medium": 0, "low": 0, "info": 0}}
    assert days[-3] == {"day": "2026-05-03", "counts": {"critical": 1, "high": 0, "medium": 0, "low": 1, "info": 0}}
    assert sum(sum(one["counts"].values()) for one in days) == 3
    clock.pass_by(days=29)
    assert sum(sum(one["counts"].values()) for one in (await case.organization.get("/findings/trend")).json()["days"]) == 1
    assert not any(any(one["counts"].values()) for one in (await other.get("/findings/trend")).json()["days"])


async def test_looks_tell_which_scans_saw_a_finding_and_which_could_not_look(
    case: Case, job: Job, other: Organization, clock: Clock
) -> None:
    await case.runner.on_job(job, "events", events=[found(1)])
    await case.runner.on_job(job, "finish", **{**ENDED, "lastSeq": 1})
    for coverage in ({"complete": True, "reasons": []}, {"complete": False, "reasons": ["budget"]}):
        clock.pass_by(minutes=5)
        await case.runner.beat()
        await case.organization.scan(case.target["id"])
        await case.runner.on_job(await case.running(), "finish", **{**ENDED, "coverage": coverage})
    finding = (await case.organization.get("/findings")).json()["findings"][0]

    looks = (await case.organization.get(f"/findings/{finding['id']}/looks")).raise_for_status().json()["looks"]

    assert [(one["seen"], one["complete"]) for one in looks] == [(False, False), (False, True), (True, True)]
    assert looks[-1]["scanId"] == case.scan_id
    assert (await other.get(f"/findings/{finding['id']}/looks")).status_code == 404
