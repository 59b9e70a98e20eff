"""Triage over HTTP: the history of a status, accepted risks that end, flaws that come back, false positives that stay silent."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from tests.server.scans.situations import ENDED, Case, found
from tests.support.clock import Clock
from tests.support.control_plane import Plane
from tests.support.people import Organization

Job = dict[str, Any]


async def _seen(case: Case, job: Job, *flaws: dict[str, Any]) -> list[dict[str, Any]]:
    """The scan reports these and ends; the organization's findings, worst first."""
    await case.runner.on_job(job, "events", events=list(flaws))
    (await case.runner.on_job(job, "finish", **{**ENDED, "lastSeq": len(flaws)})).raise_for_status()
    findings: list[dict[str, Any]] = (await case.organization.get("/findings")).json()["findings"]
    return findings


async def _again(case: Case) -> Job:
    (await case.organization.post("/scans", {"targetId": case.target["id"]})).raise_for_status()
    return await case.running()


async def _say(organization: Organization, finding: dict[str, Any], status: str, **more: Any) -> None:
    (await organization.patch(f"/findings/{finding['id']}/status", {"userStatus": status, **more})).raise_for_status()


async def _history(organization: Organization, finding: dict[str, Any]) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = (await organization.get(f"/findings/{finding['id']}/history")).raise_for_status().json()["history"]
    return entries


async def _news(plane: Plane) -> list[tuple[str, dict[str, Any]]]:
    """What the live stream was told of findings so far."""
    return [(kind, data) for kind, data in await plane.told() if kind.startswith("finding.")]


async def test_history_of_a_finding_tells_who_said_what_newest_first(case: Case, job: Job) -> None:
    (finding,) = await _seen(case, job, found(1))

    await _say(case.organization, finding, "in_progress")
    await _say(case.organization, finding, "accepted_risk", note="behind VPN", until="2026-06-01T00:00:00Z")

    newest, oldest = await _history(case.organization, finding)
    assert newest == {
        "at": "2026-05-03T09:15:32Z",
        "actor": oldest["actor"],
        "cause": "person",
        "from": "in_progress",
        "to": "accepted_risk",
        "note": "behind VPN",
        "until": "2026-06-01T00:00:00Z",
        "scanId": None,
    }
    assert (oldest["from"], oldest["to"], oldest["note"]) == ("open", "in_progress", None)


async def test_history_of_a_finding_of_another_organization_is_not_found(case: Case, job: Job, other: Organization) -> None:
    (finding,) = await _seen(case, job, found(1))

    answer = await other.get(f"/findings/{finding['id']}/history")

    assert (answer.status_code, answer.json()["code"]) == (404, "finding_not_found")


async def test_accepted_risk_is_open_again_when_its_end_has_come(case: Case, job: Job, plane: Plane, clock: Clock) -> None:
    first, second = await _seen(case, job, found(1), found(2, parameter="page"))
    await _say(case.organization, first, "accepted_risk", until=(clock.now + timedelta(hours=1)).isoformat())
    await _say(case.organization, second, "accepted_risk")
    clock.pass_by(seconds=3599)
    await plane.settle()
    before = (await case.organization.get(f"/findings/{first['id']}")).json()["finding"]

    clock.pass_by(seconds=1)
    await plane.settle()

    after = (await case.organization.get(f"/findings/{first['id']}")).json()["finding"]
    assert (before["userStatus"], before["acceptedUntil"]) == ("accepted_risk", "2026-05-03T10:15:32Z")
    assert (after["userStatus"], after["acceptedUntil"]) == ("open", None)
    assert (await case.organization.get(f"/findings/{second['id']}")).json()["finding"]["userStatus"] == "accepted_risk"
    entry = (await _history(case.organization, first))[0]
    assert (entry["cause"], entry["actor"], entry["from"], entry["to"]) == ("expiry", "system", "accepted_risk", "open")
    audited = (await case.organization.get(f"/audit-events?subjectId={first['id']}")).json()["auditEvents"][0]
    assert (audited["action"], audited["actor"], audited["details"]["cause"]) == ("finding.status_changed", "system", "expiry")
    assert ("finding.status_changed", {"findingId": first["id"], "userStatus": "open", "cause": "expiry"}) in await _news(plane)


async def test_accepted_risk_that_is_closed_before_its_end_stays_closed(case: Case, job: Job, plane: Plane, clock: Clock) -> None:
    (finding,) = await _seen(case, job, found(1))
    await _say(case.organization, finding, "accepted_risk", until=(clock.now + timedelta(hours=1)).isoformat())
    await _say(case.organization, finding, "fixed")

    clock.pass_by(hours=2)
    await plane.settle()

    shown = (await case.organization.get(f"/findings/{finding['id']}")).json()["finding"]
    assert (shown["userStatus"], shown["acceptedUntil"]) == ("fixed", None)


@pytest.mark.parametrize(
    "body",
    [
        {"userStatus": "accepted_risk", "until": "2026-05-03T09:15:32Z"},
        {"userStatus": "open", "until": "2026-06-01T00:00:00Z"},
        {"userStatus": "accepted_risk", "until": "tomorrow"},
    ],
)
async def test_accepted_risk_with_a_bad_end_is_refused(case: Case, job: Job, body: dict[str, str]) -> None:
    (finding,) = await _seen(case, job, found(1))

    refused = await case.organization.patch(f"/findings/{finding['id']}/status", body)

    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "until")
    assert await _history(case.organization, finding) == []


async def test_finding_that_comes_back_after_fixed_is_reopened_and_told(case: Case, job: Job, plane: Plane) -> None:
    (finding,) = await _seen(case, job, found(1))
    await _say(case.organization, finding, "fixed")
    second = await _again(case)

    (again,) = await _seen(case, second, found(1))

    assert again["userStatus"] == "open"
    entry = (await _history(case.organization, finding))[0]
    assert (entry["cause"], entry["from"], entry["to"], entry["scanId"]) == ("scan", "fixed", "open", second["scan"]["id"])
    told = [data for kind, data in await _news(plane) if kind == "finding.reopened"]
    assert [one["findingId"] for one in told] == [finding["id"]]
    audited = (await case.organization.get(f"/audit-events?subjectId={finding['id']}")).json()["auditEvents"]
    assert "finding.reopened" in {one["action"] for one in audited}


async def test_false_positive_that_is_seen_again_is_silent_and_counted_apart(case: Case, job: Job, plane: Plane) -> None:
    (finding,) = await _seen(case, job, found(1))
    await _say(case.organization, finding, "false_positive")
    second = await _again(case)
    before = await _news(plane)

    await _seen(case, second, found(1), found(2, parameter="page", severity="low"))

    told = (await _news(plane))[len(before) :]
    assert [(kind, data["severity"]) for kind, data in told] == [("finding.created", "low")]
    scan = (await case.organization.get(f"/scans/{second['scan']['id']}")).json()["scan"]
    assert (scan["findingCounts"]["high"], scan["findingCounts"]["low"], scan["falsePositives"]) == (0, 1, 1)
    report = (await case.organization.get(f"/scans/{second['scan']['id']}/report")).json()["report"]
    assert (report["summary"]["findingCounts"]["high"], report["summary"]["falsePositives"]) == (0, 1)
    assert report["markdownContent"].count("\n### ") == 1


async def test_accepted_risk_that_is_seen_again_is_counted_as_before(case: Case, job: Job) -> None:
    (finding,) = await _seen(case, job, found(1))
    await _say(case.organization, finding, "accepted_risk")
    second = await _again(case)

    await _seen(case, second, found(1))

    scan = (await case.organization.get(f"/scans/{second['scan']['id']}")).json()["scan"]
    assert (scan["findingCounts"]["high"], scan["falsePositives"]) == (1, 0)
