"""A scan from its start to its end, as people and its runner see it."""

from __future__ import annotations

from tests.server.scans.situations import Case, found, logged, queued_scan
from tests.support.clock import Clock
from tests.support.people import Organization, Runner


async def test_scan_from_start_to_end_shows_each_state(case: Case, clock: Clock) -> None:
    seen = [await case.status()]
    job = await case.runner.claimed()
    seen.append(await case.status())
    await case.runner.on_job(job, "preflight", ok=True, checks={"target": {"ok": True, "message": "answers"}})
    await case.runner.on_job(job, "start", runtimeMetadata={"engine": "docker"})
    seen.append(await case.status())
    clock.pass_by(seconds=30)
    await case.runner.on_job(job, "events", events=[logged(1), found(2)])

    finished = await case.runner.on_job(
        job, "finish", status="completed", endReason="completed", lastSeq=2, coverage={"complete": True, "reasons": []}
    )

    assert finished.json() == {"scanId": case.scan_id, "status": "completed", "cancelRequestedAt": None}
    assert [*seen, await case.status()] == ["pending_runner", "assigned", "running", "completed"]


async def test_scan_that_ended_shows_every_field(case: Case, clock: Clock) -> None:
    job = await case.running()
    clock.pass_by(seconds=30)
    progress = {"seq": 2, "at": "2026-05-03T09:15:32Z", "type": "progress", "percent": 40, "requests": 12}
    phase = {"seq": 1, "at": "2026-05-03T09:15:32Z", "type": "phase", "name": "crawl"}
    await case.runner.on_job(job, "events", events=[phase, progress, found(3)])
    coverage = {"complete": False, "reasons": ["budget_spent"]}
    await case.runner.on_job(job, "finish", status="completed", endReason="completed", lastSeq=3, coverage=coverage)

    scan = await case.scan()

    assert scan == {
        "id": case.scan_id,
        "targetId": case.target["id"],
        "targetDomain": case.target["domain"],
        "status": "completed",
        "statusReason": None,
        "endReason": "completed",
        "runnerId": case.runner.id,
        "runnerName": "runner-1",
        "attempt": 1,
        "executionMode": "self_hosted_runner",
        "targetVisibility": "localhost",
        "scanImageDigest": None,
        "modelPreset": "low",
        "isRetest": False,
        "parentScanId": None,
        "findingIds": [],
        "progress": {"phase": "crawl", "percent": 40, "requests": 12},
        "coverage": coverage,
        "findingCounts": {"critical": 0, "high": 1, "medium": 0, "low": 0, "info": 0},
        "falsePositives": 0,
        "waitingFor": None,
        "cancelRequestedAt": None,
        "createdAt": "2026-05-03T09:17:33Z",
        "startedAt": "2026-05-03T09:17:33Z",
        "finishedAt": "2026-05-03T09:18:03Z",
    }


async def test_scan_marks_its_target_as_scanned(case: Case) -> None:
    await case.runner.claimed()

    target = (await case.organization.get(f"/targets/{case.target['id']}")).json()["target"]

    assert target["lastScanAt"] == "2026-05-03T09:17:33Z"


async def test_scan_whose_preflight_failed_ends_with_the_reason(case: Case) -> None:
    job = await case.runner.claimed()
    checks = {"target": {"ok": False, "message": "connection refused", "remediation": "start it"}}

    told = await case.runner.on_job(job, "preflight", ok=False, checks=checks, errorCode="target_unreachable", errorMessage="no answer")

    assert (told.status_code, told.json()["status"]) == (200, "preflight_failed")
    scan = await case.scan()
    assert (scan["status"], scan["endReason"], scan["statusReason"]) == (
        "preflight_failed",
        "preflight_failed",
        "target_unreachable: no answer",
    )


async def test_preflight_that_fails_after_the_start_is_refused_and_the_target_stays_taken(case: Case) -> None:
    job = await case.running()

    told = await case.runner.on_job(job, "preflight", ok=False, errorCode="target_unreachable")

    assert (told.status_code, told.json()["code"]) == (409, "scan_already_started")
    assert await case.ending() == ("running", None)


async def test_preflight_that_passed_is_repeated_after_the_start_without_effect(case: Case) -> None:
    job = await case.running()

    told = await case.runner.on_job(job, "preflight", ok=True)

    assert (told.status_code, told.json()["status"]) == (200, "running")


async def test_scan_whose_preflight_failed_without_a_message_names_the_failed_check(case: Case) -> None:
    job = await case.runner.claimed()

    await case.runner.on_job(job, "preflight", ok=False, checks={"disk": {"ok": False, "message": "2 GiB free"}})

    assert (await case.scan())["statusReason"] == "disk: 2 GiB free"


async def test_scan_that_failed_for_its_target_is_not_retried(case: Case) -> None:
    job = await case.running()

    await case.runner.on_job(job, "finish", status="failed", endReason="target_unreachable", errorMessage="gone", lastSeq=0)

    assert await case.ending() == ("failed", "target_unreachable")
    assert (await case.scan())["statusReason"] == "gone"


async def test_scan_that_ended_leaves_room_for_the_next_of_its_target(case: Case) -> None:
    job = await case.runner.claimed()
    await case.runner.run_whole(job)

    again = await case.organization.post("/scans", {"targetId": case.target["id"]})

    assert again.status_code == 201


async def test_scan_changes_reach_the_audit_trail(case: Case) -> None:
    job = await case.runner.claimed()
    await case.runner.run_whole(job)

    events = (await case.organization.get(f"/audit-events?subjectId={case.scan_id}")).json()["auditEvents"]

    assert [(event["action"], event["actor"]) for event in reversed(events)] == [
        ("scan.created", case.organization.key.split("_")[1]),
        ("scan.assigned", f"runner:{case.runner.id}"),
        ("scan.started", f"runner:{case.runner.id}"),
        ("scan.ended", f"runner:{case.runner.id}"),
    ]


async def test_scans_of_two_runners_run_side_by_side(case: Case, acme: Organization) -> None:
    second = await acme.runner("runner-2")
    other_case = await queued_scan(acme, second)

    jobs = [await case.runner.claimed(), await second.claimed()]

    assert {job["scan"]["id"] for job in jobs} == {case.scan_id, other_case.scan_id}


async def test_scans_are_given_out_oldest_first(case: Case, acme: Organization, clock: Clock) -> None:
    clock.pass_by(seconds=1)
    await queued_scan(acme, case.runner)

    job = await case.runner.claimed()

    assert job["scan"]["id"] == case.scan_id


async def test_job_tells_the_runner_everything_it_needs(case: Case) -> None:
    job = await case.runner.claimed()

    token = job.pop("jobToken")
    assert token.startswith("apvj_")
    assert job == {
        "job": {"id": case.job_id, "runnerId": case.runner.id, "attempt": 1, "leaseSeconds": 120, "renewAfterSeconds": 30},
        "scan": {"id": case.scan_id, "modelPreset": "low", "isRetest": False, "retestFindings": []},
        "target": {name: case.target[name] for name in ("id", "domain", "displayUrl", "scanUrl", "visibility")},
        "image": None,
        "limits": job["limits"],
    }
    assert job["limits"]["maxRequests"] == 3000
    assert job["limits"]["methods"] == ["GET", "HEAD", "OPTIONS"]


async def test_list_of_scans_by_status_takes_the_other_names_too(case: Case, acme: Organization, runner: Runner) -> None:
    queued = (await acme.get("/scans?status=queued")).json()
    await runner.claimed()

    assigned = (await acme.get("/scans?status=provisioning")).json()

    assert [scan["id"] for scan in queued["scans"]] == [scan["id"] for scan in assigned["scans"]] == [case.scan_id]
    assert (await acme.get("/scans?status=pending_runner")).json()["total"] == 0


async def test_list_of_scans_by_runner_shows_those_that_it_has_had_in_hand(case: Case, acme: Organization, runner: Runner) -> None:
    await queued_scan(acme, runner)
    idle = await acme.runner("idle")
    job = await runner.claimed()

    listed = (await acme.get(f"/scans?runnerId={runner.id}")).json()

    assert [scan["id"] for scan in listed["scans"]] == [job["scan"]["id"]]
    assert (await acme.get(f"/scans?runnerId={idle.id}")).json()["total"] == 0


async def test_list_of_scans_by_target_shows_that_target_alone(case: Case, acme: Organization, runner: Runner) -> None:
    await queued_scan(acme, runner)

    listed = (await acme.get(f"/scans?targetId={case.target['id']}&limit=1")).json()

    assert ([scan["id"] for scan in listed["scans"]], listed["total"], listed["totalPages"]) == ([case.scan_id], 1, 1)
