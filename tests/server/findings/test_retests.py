"""Retests over HTTP: each named finding ends as fixed, still open or not checked, and never fixed where nobody could look."""

from __future__ import annotations

from typing import Any

import pytest

from tests.server.scans.situations import Case, found, queued_scan
from tests.support.clock import Clock
from tests.support.control_plane import Plane
from tests.support.people import Organization

Job = dict[str, Any]
NAMES = ("gone", "there", "hidden")
COMPLETE = {"complete": True, "reasons": []}


@pytest.fixture
async def seen(case: Case, job: Job) -> dict[str, str]:
    """A scan that has ended and saw three flaws; their ids by parameter."""
    await case.runner.on_job(job, "events", events=[found(n, parameter=name) for n, name in enumerate(NAMES, 1)])
    told = await case.runner.on_job(job, "finish", status="completed", endReason="completed", lastSeq=3, coverage=COMPLETE)
    told.raise_for_status()
    return {one["parameter"]: one["id"] for one in (await case.organization.get("/findings")).json()["findings"]}


async def _retest(case: Case, **wanted: Any) -> Job:
    body = {"targetId": case.target["id"], "isRetest": True, "parentScanId": case.scan_id, **wanted}
    (await case.organization.post("/scans", body)).raise_for_status()
    return await case.running()


def _look(id_: str, *, complete: bool = True, reason: str = "") -> dict[str, Any]:
    return {"findingId": id_, "complete": complete, "reason": reason}


async def _finish(case: Case, job: Job, *, seen: int = 0, **told: Any) -> None:
    ending = {"status": "completed", "endReason": "completed", "coverage": COMPLETE, "lastSeq": seen, **told}
    (await case.runner.on_job(job, "finish", **ending)).raise_for_status()


async def _outcomes(case: Case, job: Job) -> dict[str, str | None]:
    answer = (await case.organization.get(f"/scans/{job['scan']['id']}/retest")).raise_for_status().json()
    return {one["findingId"]: one["outcome"] for one in answer["results"]}


async def _status(case: Case, id_: str) -> str:
    return str((await case.organization.get(f"/findings/{id_}")).json()["finding"]["userStatus"])


async def test_retest_ends_each_finding_with_its_outcome_and_moves_its_status(case: Case, seen: dict[str, str], plane: Plane) -> None:
    job = await _retest(case, findingIds=list(seen.values()))
    before = await _outcomes(case, job)
    await case.runner.on_job(job, "events", events=[found(1, parameter="there")])

    looks = [_look(seen["gone"]), _look(seen["there"]), _look(seen["hidden"], complete=False, reason="It answers with status 503.")]
    await _finish(case, job, seen=1, looks=looks)

    answer = (await case.organization.get(f"/scans/{job['scan']['id']}/retest")).json()
    by_id = {one["findingId"]: (one["outcome"], one["userStatus"], one["reason"]) for one in answer["results"]}
    assert set(before.values()) == {None}
    assert {name: by_id[id_][:2] for name, id_ in seen.items()} == {
        "gone": ("fixed", "fixed"),
        "there": ("still_open", "open"),
        "hidden": ("could_not_check", "open"),
    }
    assert by_id[seen["hidden"]][2] == "It answers with status 503."
    assert answer["counts"] == {"fixed": 1, "stillOpen": 1, "couldNotCheck": 1}
    scan = (await case.organization.get(f"/scans/{job['scan']['id']}")).json()["scan"]
    assert (scan["status"], scan["coverage"]["complete"]) == ("completed", False)
    assert scan["coverage"]["reasons"][0].startswith("retest_unchecked: 1 of 3")
    summary = (await case.organization.get(f"/scans/{job['scan']['id']}/report")).json()["report"]["summary"]
    assert (summary["verdict"], summary["retest"]) == ("partial", {"fixed": 1, "stillOpen": 1, "couldNotCheck": 1})
    told = [data for kind, data in await plane.told() if kind == "scan.retested"]
    assert [(one["fixed"], one["stillOpen"], one["couldNotCheck"]) for one in told] == [(1, 1, 1)]


async def test_report_of_a_retest_lists_its_findings_and_a_later_scan_is_compared_with_the_whole_one_before(
    case: Case, seen: dict[str, str]
) -> None:
    retest = await _retest(case, findingIds=[seen["gone"], seen["hidden"]])
    await _finish(case, retest, looks=[_look(seen["gone"]), _look(seen["hidden"], complete=False, reason="It answers <b>503</b>.")])
    again = (await case.organization.scan(case.target["id"]))["scan"]["id"]
    job = await case.running()
    await case.runner.on_job(job, "events", events=[found(n, parameter=name) for n, name in enumerate(("there", "hidden"), 1)])
    await _finish(case, job, seen=2)

    report = (await case.organization.get(f"/scans/{retest['scan']['id']}/report.json")).json()
    page = (await case.organization.get(f"/scans/{retest['scan']['id']}/report.html")).text
    later = (await case.organization.get(f"/scans/{again}/report.json")).json()["comparison"]

    assert [(one["id"], one["outcome"], one["reason"]) for one in report["retest"]["results"]] == [
        (seen["hidden"], "could_not_check", "It answers <b>503</b>."),
        (seen["gone"], "fixed", "The retest has looked for it as before and has not seen it."),
    ]
    assert {one["id"]: one["fate"] for one in report["comparison"]["past"]}[seen["gone"]] == "gone"
    assert "It answers &lt;b&gt;503&lt;/b&gt;." in page
    assert (later["previousScanId"], later["new"], later["stillThere"], later["gone"]) == (case.scan_id, 0, 2, 1)


async def test_retest_is_in_the_history_of_each_of_its_findings(case: Case, seen: dict[str, str]) -> None:
    job = await _retest(case)
    await case.runner.on_job(job, "events", events=[found(1, parameter="there")])

    await _finish(case, job, seen=1, looks=[_look(seen["gone"])])

    histories = {name: (await case.organization.get(f"/findings/{id_}/history")).json()["history"] for name, id_ in seen.items()}
    entries = {name: [(one["cause"], one["from"], one["to"], one["note"].partition(":")[0]) for one in h] for name, h in histories.items()}
    assert entries == {
        "gone": [("retest", "open", "fixed", "fixed")],
        "there": [("retest", "open", "open", "still_open")],
        "hidden": [("retest", "open", "open", "could_not_check")],
    }
    assert {one["scanId"] for h in histories.values() for one in h} == {job["scan"]["id"]}
    audited = (await case.organization.get(f"/audit-events?subjectId={seen['gone']}")).json()["auditEvents"][0]
    assert (audited["actor"], audited["details"]["cause"], audited["details"]["to"]) == ("system", "retest", "fixed")


@pytest.mark.parametrize(
    "ending",
    [
        {"coverage": {"complete": False, "reasons": ["budget_spent: All requests were used."]}},
        {"status": "failed", "endReason": "target_unreachable"},
        {"status": "failed", "endReason": "scanner_failed"},
        {"status": "cancelled", "endReason": "canceled_by_user"},
        {"looks": []},
    ],
)
async def test_retest_that_could_not_look_calls_nothing_fixed(case: Case, seen: dict[str, str], ending: dict[str, Any]) -> None:
    job = await _retest(case)

    await _finish(case, job, **{"looks": [_look(id_) for id_ in seen.values()], **ending})

    assert await _outcomes(case, job) == dict.fromkeys(seen.values(), "could_not_check")
    assert {await _status(case, id_) for id_ in seen.values()} == {"open"}


async def test_retest_that_no_runner_takes_ends_without_a_check(case: Case, seen: dict[str, str]) -> None:
    body = {"targetId": case.target["id"], "isRetest": True, "parentScanId": case.scan_id}
    made = (await case.organization.post("/scans", body)).json()

    (await case.organization.post(f"/scans/{made['scan']['id']}/cancel")).raise_for_status()

    assert await _outcomes(case, made) == dict.fromkeys(seen.values(), "could_not_check")


async def test_retest_that_is_begun_anew_is_decided_by_its_last_attempt(case: Case, seen: dict[str, str], clock: Clock) -> None:
    first = await _retest(case, findingIds=[seen["gone"]])
    await case.runner.on_job(first, "finish", status="failed", endReason="disk_full", lastSeq=0)
    case.runner = await case.organization.runner("runner-2")
    clock.pass_by(seconds=30)
    await case.runner.beat()
    between = await _outcomes(case, first)

    second = await case.running()
    await _finish(case, second, looks=[_look(seen["gone"])])

    assert between == {seen["gone"]: None}
    assert await _outcomes(case, second) == {seen["gone"]: "fixed"}


async def test_retest_that_sees_a_finding_marked_fixed_opens_it_again(case: Case, seen: dict[str, str]) -> None:
    await case.organization.patch(f"/findings/{seen['there']}/status", {"userStatus": "fixed"})
    job = await _retest(case, findingIds=[seen["there"]])
    await case.runner.on_job(job, "events", events=[found(1, parameter="there")])

    await _finish(case, job, seen=1)

    assert (await _outcomes(case, job), await _status(case, seen["there"])) == ({seen["there"]: "still_open"}, "open")
    history = (await case.organization.get(f"/findings/{seen['there']}/history")).json()["history"]
    assert [(one["cause"], one["from"], one["to"]) for one in history][:2] == [("retest", "open", "open"), ("retest", "fixed", "open")]


async def test_retest_without_named_findings_is_about_those_of_its_parent_but_no_false_positive(case: Case, seen: dict[str, str]) -> None:
    await case.organization.patch(f"/findings/{seen['hidden']}/status", {"userStatus": "false_positive"})

    job = await _retest(case)

    assert set(await _outcomes(case, job)) == {seen["gone"], seen["there"]}
    scan = (await case.organization.get(f"/scans/{job['scan']['id']}")).json()["scan"]
    assert set(scan["findingIds"]) == {seen["gone"], seen["there"]}


async def test_retest_is_never_shallower_than_its_parent(case: Case, seen: dict[str, str]) -> None:
    shallow, deep = await _retest(case, modelPreset="free"), None
    await _finish(case, shallow)
    deep = await _retest(case, modelPreset="high")

    assert (shallow["scan"]["modelPreset"], deep["scan"]["modelPreset"]) == ("low", "high")


async def test_retest_of_a_scan_that_runs_or_saw_nothing_is_refused(case: Case, job: Job) -> None:
    body = {"targetId": case.target["id"], "isRetest": True, "parentScanId": case.scan_id}
    running = await case.organization.post("/scans", body)
    await _finish(case, job)
    empty = await case.organization.post("/scans", body)

    assert [(one.status_code, one.json()["errors"][0]["field"]) for one in (running, empty)] == [(422, "parentScanId")] * 2


async def test_retest_of_findings_of_another_organization_is_refused(case: Case, seen: dict[str, str], other: Organization) -> None:
    theirs = await queued_scan(other, await other.runner("their-runner"))
    await theirs.runner.run_whole(await theirs.runner.claimed(), found(1))
    body = {"targetId": theirs.target["id"], "isRetest": True, "parentScanId": theirs.scan_id, "findingIds": list(seen.values())}

    refused = await other.post("/scans", body)

    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "findingIds")
    assert (await other.get(f"/scans/{case.scan_id}/retest")).json()["code"] == "scan_not_found"


async def test_scan_that_is_no_retest_has_no_results(case: Case, seen: dict[str, str]) -> None:
    answer = (await case.organization.get(f"/scans/{case.scan_id}/retest")).json()

    assert answer == {"results": [], "counts": {"fixed": 0, "stillOpen": 0, "couldNotCheck": 0}}
