"""Counters count what was committed, once, under labels that no client can choose."""

from __future__ import annotations

import pytest
from sqlalchemy import text
from starlette.types import Message

from tests.server.scans.situations import Case, pass_keeping_alive
from tests.support.clock import Clock
from tests.support.control_plane import Plane
from tests.support.metrics import scraped
from tests.support.people import Organization, Runner, register


async def test_claims_are_counted_by_what_came_of_them(plane: Plane, acme: Organization, runner: Runner) -> None:
    target = await acme.target()
    before = await scraped(plane)
    await runner.claim()
    await acme.scan(target["id"])
    await runner.claim("nonce-a")
    await runner.claim("nonce-a")
    await runner.claim("nonce-b")

    after = await scraped(plane)

    counted = {result: after("apviso_claims_total", result=result) - before("apviso_claims_total", result=result) for result in RESULTS}
    assert counted == {"nothing": 1, "job": 1, "repeat": 1, "not_accepting": 1}
    assert after("apviso_claim_wait_seconds_count") == before("apviso_claim_wait_seconds_count") + 4


RESULTS = ("nothing", "job", "repeat", "not_accepting")


async def test_time_in_the_queue_is_measured_from_start_to_claim(plane: Plane, acme: Organization, runner: Runner, clock: Clock) -> None:
    target = await acme.target()
    before = await scraped(plane)
    await acme.scan(target["id"])
    clock.pass_by(seconds=20)
    await runner.beat()

    await runner.claimed()

    after = await scraped(plane)
    assert after("apviso_job_queue_seconds_sum") - before("apviso_job_queue_seconds_sum") == 20
    assert after("apviso_job_queue_seconds_count") - before("apviso_job_queue_seconds_count") == 1


async def test_leases_that_run_out_are_counted_by_reason(plane: Plane, case: Case, clock: Clock) -> None:
    before = await scraped(plane)
    await case.running()
    clock.pass_by(seconds=250)
    await plane.settle()
    clock.pass_by(seconds=200)
    await plane.settle()

    after = await scraped(plane)

    name = "apviso_lease_expirations_total"
    grown = {reason: value - before(name, reason=reason) for reason, value in after.by("reason", name).items()}
    assert grown == {"lease_expired": 1, "runner_lost": 1, "assigned_silent": 0, "cancel_forced": 0}


@pytest.mark.parametrize(("step", "told"), [("lease", {}), ("events", {"events": []}), ("start", {})])
async def test_call_without_the_lease_is_counted_as_fenced(
    plane: Plane, acme: Organization, case: Case, clock: Clock, step: str, told: dict[str, object]
) -> None:
    job = await case.running()
    clock.pass_by(seconds=300)
    await plane.settle()
    second = await acme.runner("runner-2")
    await pass_keeping_alive(clock, 30, case.runner, second)
    await case.running(second)
    before = await scraped(plane)

    refused = await case.runner.on_job(job, step, **told)

    after = await scraped(plane)
    assert refused.status_code == 409
    assert after("apviso_fenced_writes_total") - before("apviso_fenced_writes_total") == 1
    assert after("apviso_refusals_total", code="lease_lost") - before("apviso_refusals_total", code="lease_lost") == 1


async def test_exchanges_of_enrollment_tokens_are_counted_by_result(plane: Plane, acme: Organization) -> None:
    before = await scraped(plane)
    token = await acme.enrollment_token()
    for key in ("key-of-the-first-one", "key-of-the-first-one", "another-key-than-that"):
        await register(plane.client, token, exchangeKey=key)
    await register(plane.client, "apve_0123456789ab_" + "x" * 43)

    after = await scraped(plane)

    name = "apviso_enrollments_total"
    results = ("enrolled", "repeated", "enrollment_token_used", "enrollment_token_invalid")
    assert {result: after(name, result=result) - before(name, result=result) for result in results} == dict.fromkeys(results, 1)


async def test_requests_are_counted_by_route_and_never_by_what_was_asked_for(plane: Plane, acme: Organization, runner: Runner) -> None:
    await acme.get(f"/runners/{runner.id}")
    await acme.call("GET", "/runners/no-such-runner")
    await plane.call("GET", "/no/such/page-of-mine")
    await plane.call("BREW", "/healthz")

    answer = (await plane.call("GET", "/metrics")).text

    assert 'apviso_http_requests_total{method="GET",route="/api/v1/runners/{id}",status="200"}' in answer
    assert 'apviso_http_requests_total{method="GET",route="/api/v1/runners/{id}",status="404"}' in answer
    assert 'apviso_http_requests_total{method="GET",route="none",status="404"}' in answer
    assert 'method="other"' in answer
    assert not [word for word in (runner.id, "no-such-runner", "page-of-mine", "BREW") if word in answer]


async def test_heartbeats_have_one_route_on_either_way(plane: Plane, runner: Runner) -> None:
    name, labels = "apviso_http_requests_total", {"method": "POST", "route": "/api/runner/heartbeat", "status": "200"}
    before = await scraped(plane)
    await runner.beat()
    await runner.beat(health={"diskFreeBytes": 1})

    after = await scraped(plane)

    assert after(name, **labels) - before(name, **labels) == 2


async def test_duties_are_timed_and_their_failures_counted(plane: Plane) -> None:
    before = await scraped(plane)
    await plane.settle()
    async with plane.resources.database.writing() as work:
        await work.db.execute(text("ALTER TABLE scans RENAME TO scans_elsewhere"))
    await plane.settle()

    after = await scraped(plane)

    assert after("apviso_duty_seconds_count", duty="run_timers") - before("apviso_duty_seconds_count", duty="run_timers") >= 1
    assert after("apviso_duty_failures_total", duty="run_timers") - before("apviso_duty_failures_total", duty="run_timers") == 1
    assert after("apviso_duty_failures_total", duty="forget") == before("apviso_duty_failures_total", duty="forget")


async def test_database_that_fails_takes_the_fleet_from_the_answer_and_nothing_else(plane: Plane, runner: Runner) -> None:
    before = await scraped(plane)
    async with plane.resources.database.writing() as work:
        await work.db.execute(text("ALTER TABLE runners RENAME TO runners_elsewhere"))

    after = await scraped(plane)

    assert (before("apviso_database_up"), after("apviso_database_up")) == (1, 0)
    assert [metrics.has("apviso_runners") for metrics in (before, after)] == [True, False]
    assert after("apviso_database_failures_total", kind="other") - before("apviso_database_failures_total", kind="other") == 1
    assert after.has("apviso_known_runners")


async def test_process_tells_of_itself_what_an_operator_asks_first(plane: Plane, acme: Organization, runner: Runner) -> None:
    metrics = await scraped(plane)

    assert metrics("apviso_known_runners") == 1
    assert metrics("apviso_presence_unwritten") == 0
    assert metrics("apviso_parked_requests_limit") == 20_000
    assert metrics("apviso_database_up") == 1
    assert metrics("apviso_replica_deaf") == 0
    assert metrics.has("apviso_build_info")


async def test_request_whose_client_leaves_while_it_sends_is_no_fault_of_the_server(plane: Plane, acme: Organization) -> None:
    arriving: list[Message] = [{"type": "http.request", "body": b'{"domain": ', "more_body": True}, {"type": "http.disconnect"}]
    answered: list[Message] = []
    headers = [(b"content-type", b"application/json"), (b"content-length", b"400"), (b"x-api-key", acme.key.encode())]
    scope = {"type": "http", "method": "POST", "path": "/api/v1/targets", "query_string": b"", "headers": headers}

    async def receive() -> Message:
        return arriving.pop(0)

    async def send(message: Message) -> None:
        answered.append(message)

    before = await scraped(plane)
    await plane.app(scope, receive, send)

    after = await scraped(plane)
    name = "apviso_http_requests_total"
    grown = {
        status: after(name, method="POST", route="none", status=status) - before(name, method="POST", route="none", status=status)
        for status in ("499", "500")
    }
    assert answered == []
    assert grown == {"499": 1, "500": 0}
