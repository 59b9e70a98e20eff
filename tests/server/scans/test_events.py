"""The numbered events of an attempt: in order, once, and nothing lost between."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.server.scans.situations import Case, found, logged
from tests.support.clock import Clock
from tests.support.control_plane import Plane
from tests.support.in_turn import in_turn
from tests.support.people import Organization


async def _send(case: Case, job: dict[str, Any], *numbers: int) -> tuple[int, dict[str, Any]]:
    answer = await case.runner.on_job(job, "events", events=[logged(number, f"line {number}") for number in numbers])
    return answer.status_code, answer.json()


async def test_events_in_order_are_acknowledged_and_readable(case: Case) -> None:
    job = await case.running()

    first, second = await _send(case, job, 1, 2), await _send(case, job, 3)

    assert (first, second) == ((200, {"ackedSeq": 2, "cancelRequestedAt": None}), (200, {"ackedSeq": 3, "cancelRequestedAt": None}))
    assert await case.log() == [
        {"seq": n, "attempt": 1, "at": "2026-05-03T09:15:32Z", "type": "log", "level": "info", "message": f"line {n}"} for n in (1, 2, 3)
    ]


async def test_events_sent_again_are_stored_once(case: Case) -> None:
    job = await case.running()
    await _send(case, job, 1, 2)

    again, overlapping = await _send(case, job, 1, 2), await _send(case, job, 2, 3)

    assert (again[1]["ackedSeq"], overlapping[1]["ackedSeq"]) == (2, 3)
    assert [event["seq"] for event in await case.log()] == [1, 2, 3]


async def test_events_sent_again_with_other_text_keep_the_first(case: Case) -> None:
    job = await case.running()
    await case.runner.on_job(job, "events", events=[logged(1, "first")])

    await case.runner.on_job(job, "events", events=[logged(1, "second")])

    assert [event["message"] for event in await case.log()] == ["first"]


@pytest.mark.parametrize("numbers", [(3,), (2, 4), (2, 3, 5)])
async def test_events_with_a_gap_are_refused_and_none_is_kept(case: Case, numbers: tuple[int, ...]) -> None:
    job = await case.running()
    await _send(case, job, 1)

    status, refused = await _send(case, job, *numbers)

    assert (status, refused["code"], refused["expectedSeq"]) == (409, "sequence_gap", 2)
    assert [event["seq"] for event in await case.log()] == [1]


async def test_log_says_what_is_missing_in_it_and_why_also_where_its_end_never_came(case: Case, plane: Plane, clock: Clock) -> None:
    job = await case.running()
    missing = {"count": 12, "cause": "spool_full"}
    await case.runner.on_job(job, "events", events=[logged(1), {**logged(2), "missing": missing}])
    before = await _gaps(case)

    clock.pass_by(seconds=300)
    await plane.settle()

    assert [event.get("missing") for event in await case.log()] == [None, missing]
    assert before == [{"seq": 2, **missing}]
    assert await _gaps(case) == [{"seq": 2, **missing}, {"seq": 3, "count": None, "cause": "runner_lost"}]
    assert "missing" not in (await case.log())[0]


async def _gaps(case: Case) -> list[dict[str, Any]]:
    answer: list[dict[str, Any]] = (await case.organization.get(f"/scans/{case.scan_id}/log")).json()["gaps"]
    return answer


async def test_events_out_of_order_in_one_batch_are_refused(case: Case) -> None:
    job = await case.running()

    status, refused = await _send(case, job, 2, 1)

    assert (status, refused["expectedSeq"]) == (409, 1)


async def test_events_sent_many_times_at_once_are_stored_once(case: Case) -> None:
    job = await case.running()

    answers = await asyncio.gather(*(_send(case, job, *range(1, 21)) for _ in range(6)))

    assert {(status, told["ackedSeq"]) for status, told in answers} == {(200, 20)}
    assert [event["seq"] for event in await case.log()] == list(range(1, 21))


async def test_events_in_an_empty_batch_tell_where_the_server_stands(case: Case) -> None:
    job = await case.running()
    await _send(case, job, 1, 2)

    assert (await _send(case, job))[1]["ackedSeq"] == 2


async def test_events_before_the_start_are_taken(case: Case) -> None:
    job = await case.runner.claimed()

    assert (await _send(case, job, 1))[0] == 200


async def test_events_carry_the_wish_to_cancel(case: Case) -> None:
    job = await case.running()
    await case.cancel()

    assert (await _send(case, job, 1))[1]["cancelRequestedAt"] == "2026-05-03T09:17:33Z"


async def test_events_of_a_new_attempt_start_at_one_again(case: Case, clock: Clock) -> None:
    job = await case.running()
    await _send(case, job, 1, 2)
    await case.runner.on_job(job, "finish", status="failed", endReason="disk_full", lastSeq=2)
    before = [event["attempt"] for event in await case.log()]

    case.runner = await case.organization.runner("runner-2")
    clock.pass_by(seconds=30)
    await case.runner.beat()
    status, told = await _send(case, await case.runner.claimed(), 1)

    assert before == [1, 1]
    assert (status, told["ackedSeq"]) == (200, 1)
    assert [(event["attempt"], event["seq"]) for event in await case.log()] == [(2, 1)]
    first = (await case.organization.get(f"/scans/{case.scan_id}/log?of=1&limit=1")).json()
    assert (first["attempt"], first["events"][0]["message"], first["lastSeq"]) == (1, "line 1", 1)
    attempts = (await case.organization.get(f"/scans/{case.scan_id}/attempts")).json()["attempts"]
    assert [(one["number"], one["endReason"], one["lastSeq"]) for one in attempts] == [(1, "disk_full", 2), (2, None, 1)]
    assert [one["runnerName"] for one in attempts] == ["runner-1", "runner-2"]


@in_turn(
    ("event", "field"),
    [
        ({"type": "log", "message": "x", "seq": 0}, "seq"),
        ({"type": "log", "message": "x"}, "seq"),
        ({"seq": 1, "type": "shout"}, ""),
        ({"seq": 1, "type": "log"}, "message"),
        ({"seq": 1, "type": "log", "message": "x", "at": "yesterday"}, "at"),
        ({"seq": 1, "type": "log", "message": "x", "at": "2026-05-03T09:15:32"}, "at"),
        ({"seq": 1, "type": "log", "message": "x\x00y"}, "message"),
        ({"seq": 1, "type": "progress", "percent": 101}, "percent"),
        ({"seq": 1, "type": "finding", "finding": {"severity": "high"}}, "finding.title"),
        ({"seq": 1, "type": "finding", "finding": {"title": "t", "severity": "awful"}}, "finding.severity"),
    ],
)
async def test_event_of_bad_shape_is_refused_by_its_field(case: Case, job: dict[str, Any], event: dict[str, Any], field: str) -> None:
    refused = await case.runner.on_job(job, "events", events=[{"at": "2026-05-03T09:15:32Z", **event}])

    assert (refused.status_code, refused.json()["code"]) == (422, "invalid_fields")
    assert refused.json()["errors"][0]["field"].endswith(field)
    assert await case.log() == []


async def test_events_beyond_the_batch_limit_are_refused(case: Case) -> None:
    job = await case.running()

    status, refused = await _send(case, job, *range(1, 1002))

    assert (status, refused["errors"][0]["field"]) == (422, "events")


async def test_events_of_eight_mebibytes_are_too_large_and_of_seven_are_not(case: Case) -> None:
    job = await case.running()
    seven = [logged(n, "x" * 15_500) for n in range(1, 460)]
    nine = [logged(n, "x" * 15_500) for n in range(1, 600)]

    refused = await case.runner.on_job(job, "events", events=nine)
    taken = await case.runner.on_job(job, "events", events=seven)

    assert (refused.status_code, refused.json()["code"]) == (413, "body_too_large")
    assert (taken.status_code, taken.json()["ackedSeq"]) == (200, 459)


async def test_progress_events_are_shown_on_the_scan(case: Case) -> None:
    job = await case.running()
    at = {"at": "2026-05-03T09:15:32Z"}
    events = [
        {"seq": 1, **at, "type": "phase", "name": "crawl"},
        {"seq": 2, **at, "type": "progress", "percent": 10.5, "requests": 4},
        {"seq": 3, **at, "type": "stats", "requests": 9, "refused": 1, "bytes": 100, "refusals": {"method": 1}},
        {"seq": 4, **at, "type": "phase", "name": "attack"},
    ]

    await case.runner.on_job(job, "events", events=events)

    assert (await case.scan())["progress"] == {"phase": "attack", "percent": 10.5, "requests": 9}


async def test_log_after_a_number_continues_there(case: Case) -> None:
    job = await case.running()
    await _send(case, job, 1, 2, 3)

    page = (await case.organization.get(f"/scans/{case.scan_id}/log?after=2")).json()
    past = (await case.organization.get(f"/scans/{case.scan_id}/log?after=3")).json()
    beyond = (await case.organization.get(f"/scans/{case.scan_id}/log?after=50")).json()

    assert ([event["seq"] for event in page["events"]], page["lastSeq"]) == ([3], 3)
    assert (past["attempt"], past["events"], past["lastSeq"]) == (1, [], 3)
    assert (beyond["events"], beyond["lastSeq"]) == ([], 3)


async def test_log_of_more_than_a_batch_is_read_in_parts(case: Case) -> None:
    job = await case.running()
    await _send(case, job, *range(1, 801))
    await _send(case, job, *range(801, 1201))

    first = (await case.organization.get(f"/scans/{case.scan_id}/log")).json()
    second = (await case.organization.get(f"/scans/{case.scan_id}/log?after={first['lastSeq']}")).json()

    assert [event["seq"] for event in first["events"] + second["events"]] == list(range(1, 1201))
    assert (first["lastSeq"], second["lastSeq"]) == (1000, 1200)


async def test_message_that_is_too_long_is_cut_and_holds_up_nothing(case: Case) -> None:
    job = await case.running()

    answer = await case.runner.on_job(job, "events", events=[logged(1, "x" * 20_000), logged(2)])

    assert answer.json()["ackedSeq"] == 2
    first = (await case.log())[0]["message"]
    assert (len(first), first[-5:]) == (16_000, "[cut]")


async def test_events_with_null_for_what_may_be_left_out_are_taken(case: Case) -> None:
    job = await case.running()
    bare = found(2, description=None, evidence=None, reproduction=None, remediation=None, method=None, detectors=None, cweId="CWE-89")

    answer = await case.runner.on_job(job, "events", events=[{**logged(1), "level": None}, bare])

    assert answer.json()["ackedSeq"] == 2, answer.text


async def test_log_of_a_new_attempt_is_told_from_its_beginning(case: Case, acme: Organization, clock: Clock) -> None:
    job = await case.running()
    await _send(case, job, 1, 2)
    await case.runner.on_job(job, "finish", status="failed", endReason="disk_full", lastSeq=2)
    clock.pass_by(seconds=30)
    second = await acme.runner("runner-2")
    again = await case.running(second)
    await second.on_job(again, "events", events=[logged(n) for n in (1, 2, 3)])

    followed = (await acme.get(f"/scans/{case.scan_id}/log?after=2&attempt=1")).json()
    same = (await acme.get(f"/scans/{case.scan_id}/log?after=2&attempt=2")).json()

    assert (followed["attempt"], [event["seq"] for event in followed["events"]]) == (2, [1, 2, 3])
    assert [event["seq"] for event in same["events"]] == [3]
