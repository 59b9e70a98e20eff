"""The log of a scan as a stream: from the start or a mark, as it comes, to the end of the scan."""

from __future__ import annotations

import httpx2
import pytest

from tests.server.scans.situations import Case, logged, queued_scan
from tests.server.stream.reading import following
from tests.support.clock import Clock
from tests.support.people import Organization, Runner


@pytest.fixture
async def case(acme: Organization, runner: Runner) -> Case:
    return await queued_scan(acme, runner)


async def test_log_stream_follows_a_scan_to_its_end(case: Case, wire: httpx2.AsyncClient) -> None:
    job = await case.running()
    await case.runner.on_job(job, "events", events=[logged(1)])
    async with following(wire, f"/api/v1/scans/{case.scan_id}/log", case.organization.key) as stream:
        first = await stream.next()

        await case.runner.on_job(job, "events", events=[logged(2, "later")])
        await case.runner.on_job(job, "finish", status="completed", endReason="completed", lastSeq=2)

        rest = await stream.rest()
    assert (first.id, first.type, first.data) == ("1", "log", {**logged(1), "attempt": 1})
    assert [(event.type, event.data.get("seq")) for event in rest] == [("log", 2), ("end", None)]
    assert rest[-1].data == {"status": "completed", "endReason": "completed"}


async def test_log_stream_resumes_after_the_last_event_that_was_seen(case: Case, wire: httpx2.AsyncClient) -> None:
    job = await case.running()
    await case.runner.on_job(job, "events", events=[logged(n) for n in range(1, 6)])
    await case.runner.on_job(job, "finish", status="completed", endReason="completed", lastSeq=5)
    path = f"/api/v1/scans/{case.scan_id}/log"

    async with following(wire, path, case.organization.key, **{"Last-Event-ID": "3"}) as stream:
        by_mark = await stream.rest()
    async with following(wire, f"{path}?after=4", case.organization.key) as stream:
        by_query = await stream.rest()

    assert [event.id for event in by_mark] == ["4", "5", None]
    assert [event.id for event in by_query] == ["5", None]


async def test_log_stream_of_a_retried_scan_goes_on_with_the_new_attempt(case: Case, wire: httpx2.AsyncClient, clock: Clock) -> None:
    job = await case.running()
    await case.runner.on_job(job, "events", events=[logged(1), logged(2)])
    second = await case.organization.runner("runner-2")
    async with following(wire, f"/api/v1/scans/{case.scan_id}/log", case.organization.key) as stream:
        await stream.take(2)
        await case.runner.on_job(job, "finish", status="failed", endReason="disk_full", lastSeq=2)
        clock.pass_by(seconds=30)
        await second.beat()
        again = await case.running(second)
        await second.on_job(again, "events", events=[logged(1, "again")])

        event = await stream.next()

    assert (event.data["attempt"], event.data["seq"], event.data["message"]) == (2, 1, "again")


async def test_log_stream_with_a_mark_of_nonsense_begins_at_the_start(case: Case, wire: httpx2.AsyncClient) -> None:
    job = await case.running()
    await case.runner.on_job(job, "events", events=[logged(1)])
    await case.cancel()
    await case.runner.on_job(job, "finish", status="cancelled", endReason="canceled_by_user", lastSeq=1)

    for mark in ("soon", "99999999999999999999"):
        async with following(wire, f"/api/v1/scans/{case.scan_id}/log", case.organization.key, **{"Last-Event-ID": mark}) as stream:
            told = await stream.rest()

        assert [event.type for event in told][-1] == "end", mark


async def test_log_stream_of_another_organization_is_not_found(case: Case, other: Organization, wire: httpx2.AsyncClient) -> None:
    headers = {"X-API-Key": other.key, "accept": "text/event-stream"}

    refused = await wire.get(f"/api/v1/scans/{case.scan_id}/log", headers=headers)

    assert (refused.status_code, refused.json()["code"]) == (404, "scan_not_found")
