"""Findings over HTTP: one flaw stays one over repeats, attempts and scans; people say what becomes of it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.server.scans.situations import Case, found, queued_scan
from tests.support.clock import Clock
from tests.support.people import Organization

Job = dict[str, Any]


async def _end(case: Case, job: Job, last_seq: int) -> None:
    coverage = {"complete": True, "reasons": []}
    told = await case.runner.on_job(job, "finish", status="completed", endReason="completed", lastSeq=last_seq, coverage=coverage)
    told.raise_for_status()


async def _listed(organization: Organization, path: str = "/findings") -> list[dict[str, Any]]:
    findings: list[dict[str, Any]] = (await organization.get(path)).raise_for_status().json()["findings"]
    return findings


async def _again(case: Case) -> Job:
    """Another scan of the same target, running."""
    (await case.organization.post("/scans", {"targetId": case.target["id"]})).raise_for_status()
    return await case.running()


async def test_finding_that_a_scan_reports_shows_every_field(case: Case, job: Job) -> None:
    flaw = {
        "title": "SQL injection in q",
        "severity": "critical",
        "cvssScore": 9.8,
        "cvssVector": "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H",
        "cweId": 89,
        "description": "The parameter is part of a statement.",
        "evidence": "syntax error near '",
        "reproduction": ["curl 'http://localhost:3000/items?q=%27'"],
        "remediation": "Bind parameters.",
        "url": "http://localhost:3000/items?q=%27",
        "method": "GET",
        "parameter": "q",
        "detectors": ["sql"],
    }

    await case.runner.on_job(job, "events", events=[{"seq": 1, "at": "2026-05-03T09:15:32Z", "type": "finding", "finding": flaw}])

    finding = (await _listed(case.organization, f"/scans/{case.scan_id}/findings"))[0]
    assert finding == {
        **flaw,
        "id": finding["id"],
        "scanId": case.scan_id,
        "fingerprint": finding["fingerprint"],
        "userStatus": "open",
        "firstSeenAt": "2026-05-03T09:15:32Z",
        "lastSeenAt": "2026-05-03T09:15:32Z",
        "targetId": case.target["id"],
        "acceptedUntil": None,
    }
    assert (await case.organization.get(f"/findings/{finding['id']}")).json() == {"finding": finding}
    assert len(finding["fingerprint"]) == 64


async def test_finding_reported_twice_in_one_attempt_is_one_with_the_worse_severity(case: Case, job: Job) -> None:
    first = found(1, severity="medium", evidence="first", detectors=["a"])
    again = found(2, severity="high", evidence="second", detectors=["b"], url="http://localhost:3000/items/9")

    await case.runner.on_job(job, "events", events=[first, again])

    listed = await _listed(case.organization, f"/scans/{case.scan_id}/findings")
    assert [(one["severity"], one["evidence"], one["detectors"]) for one in listed] == [("high", "first", ["a", "b"])]
    assert (await case.scan())["findingCounts"] == {"critical": 0, "high": 1, "medium": 0, "low": 0, "info": 0}


async def test_finding_that_a_scan_says_again_with_more_detectors_has_the_fuller_words(case: Case, job: Job) -> None:
    first = found(1, evidence="of one", detectors=["a"])
    grown = found(2, evidence="of both", detectors=["a", "b"])

    await case.runner.on_job(job, "events", events=[first, grown])

    (listed,) = await _listed(case.organization, f"/scans/{case.scan_id}/findings")
    assert (listed["evidence"], listed["detectors"]) == ("of both", ["a", "b"])


async def test_findings_of_different_places_are_different(case: Case, job: Job) -> None:
    events = [
        found(1),
        found(2, parameter="page"),
        found(3, url="http://localhost:3000/search"),
        found(4, cweId=79),
        found(5, method="POST"),
    ]

    await case.runner.on_job(job, "events", events=events)

    assert len({one["fingerprint"] for one in await _listed(case.organization)}) == 5


async def test_finding_seen_by_two_attempts_is_one(case: Case, job: Job, clock: Clock) -> None:
    await case.runner.on_job(job, "events", events=[found(1), found(2, parameter="gone")])
    await case.runner.on_job(job, "finish", status="failed", endReason="disk_full", lastSeq=2)
    case.runner = await case.organization.runner("runner-2")
    clock.pass_by(seconds=30)
    await case.runner.beat()
    second = await case.running()
    await case.runner.on_job(second, "events", events=[found(1)])
    await _end(case, second, 1)

    of_the_scan, of_all = await _listed(case.organization, f"/scans/{case.scan_id}/findings"), await _listed(case.organization)

    assert [one["parameter"] for one in of_the_scan] == ["q"]
    assert sorted(one["parameter"] for one in of_all) == ["gone", "q"]
    assert (await case.scan())["findingCounts"]["high"] == 1


async def test_finding_seen_by_two_scans_is_one_and_keeps_its_first_time(case: Case, job: Job, clock: Clock) -> None:
    await case.runner.on_job(job, "events", events=[found(1)])
    await _end(case, job, 1)
    clock.pass_by(seconds=30)
    second = await _again(case)

    await case.runner.on_job(second, "events", events=[found(1, evidence="newer")])

    listed = await _listed(case.organization)
    assert [(one["scanId"], one["firstSeenAt"], one["lastSeenAt"], one["evidence"]) for one in listed] == [
        (second["scan"]["id"], "2026-05-03T09:15:32Z", "2026-05-03T09:16:02Z", "newer")
    ]
    assert [one["scanId"] for one in await _listed(case.organization, f"/scans/{case.scan_id}/findings")] == [case.scan_id]


@pytest.mark.parametrize(("before", "after"), [("fixed", "open"), ("accepted_risk", "accepted_risk"), ("false_positive", "false_positive")])
async def test_finding_that_comes_back_is_open_again_only_if_it_was_fixed(case: Case, job: Job, before: str, after: str) -> None:
    await case.runner.on_job(job, "events", events=[found(1)])
    await _end(case, job, 1)
    finding = (await _listed(case.organization))[0]
    await case.organization.patch(f"/findings/{finding['id']}/status", {"userStatus": before})

    await case.runner.on_job(await _again(case), "events", events=[found(1)])

    assert [one["userStatus"] for one in await _listed(case.organization)] == [after]


async def test_findings_of_two_targets_are_two(case: Case, job: Job) -> None:
    await case.runner.on_job(job, "events", events=[found(1)])
    await _end(case, job, 1)
    elsewhere = await queued_scan(case.organization, case.runner)

    await case.runner.on_job(await elsewhere.running(), "events", events=[found(1)])

    by_target = await _listed(case.organization, f"/findings?targetId={case.target['id']}")
    assert len(await _listed(case.organization)) == 2
    assert len(by_target) == 1


async def test_findings_are_listed_worst_first_and_filtered(case: Case, job: Job) -> None:
    severities = ["low", "critical", "info", "high"]
    await case.runner.on_job(job, "events", events=[found(n, severity=s, parameter=s) for n, s in enumerate(severities, 1)])
    worst = (await _listed(case.organization))[0]
    await case.organization.patch(f"/findings/{worst['id']}/status", {"userStatus": "in_progress"})
    expected = {
        "": ["critical", "high", "low", "info"],
        "?severity=high": ["high"],
        "?userStatus=in_progress": ["critical"],
        "?userStatus=open&limit=2": ["high", "low"],
        "?page=2&limit=3": ["info"],
    }

    of_all = {query: await _listed(case.organization, f"/findings{query}") for query in expected}
    of_scan = {query: await _listed(case.organization, f"/scans/{case.scan_id}/findings{query}") for query in expected}

    assert {query: [one["severity"] for one in found_] for query, found_ in of_all.items()} == expected
    assert {query: [one["severity"] for one in found_] for query, found_ in of_scan.items()} == expected


async def test_finding_status_is_changed_and_audited_with_its_note(case: Case, job: Job) -> None:
    await case.runner.on_job(job, "events", events=[found(1)])
    finding = (await _listed(case.organization))[0]

    changed = await case.organization.patch(f"/findings/{finding['id']}/status", {"userStatus": "accepted_risk", "note": "behind VPN"})

    assert changed.json() == {"finding": {**finding, "userStatus": "accepted_risk"}}
    event = (await case.organization.get(f"/audit-events?subjectId={finding['id']}")).json()["auditEvents"][0]
    assert (event["action"], event["details"]) == ("finding.status_changed", {"from": "open", "to": "accepted_risk", "note": "behind VPN"})


@pytest.mark.parametrize("body", [{}, {"userStatus": "gone"}, {"userStatus": "open", "note": "x" * 1001}])
async def test_finding_status_with_a_bad_body_is_refused(case: Case, job: Job, body: dict[str, object]) -> None:
    await case.runner.on_job(job, "events", events=[found(1)])
    finding = (await _listed(case.organization))[0]

    refused = await case.organization.patch(f"/findings/{finding['id']}/status", body)

    assert (refused.status_code, refused.json()["code"]) == (422, "invalid_fields")


async def test_findings_of_another_organization_are_not_found(case: Case, job: Job, other: Organization) -> None:
    await case.runner.on_job(job, "events", events=[found(1)])
    finding = (await _listed(case.organization))[0]

    answers = [
        await other.get(f"/findings/{finding['id']}"),
        await other.patch(f"/findings/{finding['id']}/status", {"userStatus": "fixed"}),
        await other.get(f"/scans/{case.scan_id}/findings"),
        await other.get(f"/scans/{case.scan_id}/report"),
        await other.get(f"/scans/{case.scan_id}/log"),
    ]

    assert [answer.json()["code"] for answer in answers] == ["finding_not_found"] * 2 + ["scan_not_found"] * 3
    assert await _listed(other) == []


@pytest.mark.parametrize(
    ("vector", "score"),
    [
        ("CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H", 9.8),
        ("CVSS:4.0/AV:N/AC:L/AT:N/PR:N/UI:N/VC:H/VI:H/VA:H/SC:N/SI:N/SA:N", 9.3),
        ("CVSS:3.1/AV:N", None),
        (None, None),
    ],
)
async def test_finding_with_a_vector_alone_gets_the_score_it_stands_for(
    case: Case, job: Job, vector: str | None, score: float | None
) -> None:
    await case.runner.on_job(job, "events", events=[found(1, cvssVector=vector)])

    (shown,) = await _listed(case.organization)

    assert (shown["cvssVector"], shown["cvssScore"]) == (vector, score)


async def test_finding_with_a_vector_that_is_none_is_kept_without_it(case: Case, job: Job) -> None:
    await case.runner.on_job(job, "events", events=[found(1, cvssVector="CVSS:3.1/nonsense")])

    (shown,) = await _listed(case.organization)

    assert (shown["cvssVector"], shown["cvssScore"]) == (None, None)
