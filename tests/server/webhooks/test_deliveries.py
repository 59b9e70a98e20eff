"""Deliveries to a real receiver with faults: what arrives, how often, in which order, and what the log says."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks.webhooks import Webhook

from apviso.protocol.wire import OrganizationId
from apviso.server.settings import Settings
from apviso.server.stream import store as stream
from apviso.server.webhooks import store
from apviso.server.webhooks.destination import Policy
from apviso.server.webhooks.facts import Message, Outcome
from apviso.server.webhooks.posting import LEASE
from apviso.server.webhooks.sending import Sender
from tests.scanning.certificates import self_signed
from tests.server.scans.situations import queued_scan
from tests.server.webhooks.conftest import LOOPBACK
from tests.server.webhooks.hooks import hook
from tests.support.clock import Clock, RealClock
from tests.support.control_plane import Plane, running
from tests.support.metrics import scraped
from tests.support.people import Organization, Runner
from tests.support.receiver import CLOSES, NEVER, Receiver, receiving, status

NOW = datetime(2026, 5, 3, 9, 15, 32, tzinfo=UTC)
STATES = ("runner.online", "runner.degraded", "runner.offline", "runner.recovered")


class TestSignatures:
    @pytest.fixture
    def clock(self) -> Clock:
        """The reference library looks at the time."""
        return RealClock()

    async def test_message_is_verified_by_the_reference_library_with_either_secret(self, acme: Organization, receiver: Receiver) -> None:
        made = await hook(acme, receiver.url())
        renewed = (await acme.post(f"/webhooks/{made.id}/rotate-secret")).json()["secret"]

        delivery = await made.tried()

        got = await receiver.next()
        for secret in (made.secret, renewed):
            assert Webhook(secret).verify(got.body, got.headers)["type"] == "webhook.test"
        assert got.headers["webhook-id"] == delivery["messageId"] == f"msg_{delivery['id']}"
        assert (got.headers["content-type"], got.headers["host"]) == ("application/json", f"127.0.0.1:{receiver.port}")


async def test_life_of_a_scan_is_told_in_order(acme: Organization, runner: Runner, plane: Plane, receiver: Receiver) -> None:
    await hook(acme, receiver.url(), "scan.started", "scan.completed", "report.ready")
    case = await queued_scan(acme, runner)
    await runner.run_whole(await runner.claimed())

    await plane.settle()

    got = await receiver.take(3)
    assert [message.type for message in got] == ["scan.started", "scan.completed", "report.ready"]
    assert {message.data["scanId"] for message in got} == {case.scan_id}


FAULTS = {
    "/500": (status(500), "The receiver answered 500."),
    "/302": (status(302, Location="/elsewhere"), "The receiver answered 302, a redirect; redirects are not followed."),
    "/closes": (CLOSES, "The receiver closed the connection before it had answered."),
    "/slow": (NEVER, "The receiver did not answer within 1.5 s."),
    "/nonsense": (b"nonsense\r\n\r\n", "The receiver closed the connection before it had answered."),
}


async def test_receiver_with_a_fault_gets_the_same_message_again(
    acme: Organization, plane: Plane, clock: Clock, receiver: Receiver
) -> None:
    made = {path: await hook(acme, receiver.url(path=path), "runner.enrolled") for path in FAULTS}
    receiver.answers_at = {path: answer for path, (answer, _) in FAULTS.items()}
    await acme.runner()
    await plane.settle()
    failed = {path: await one.attempted() for path, one in made.items()}

    clock.pass_by(seconds=7)
    await plane.settle()

    got = await receiver.take(2 * len(FAULTS))
    assert {path: (one["status"], one["error"]) for path, one in failed.items()} == {
        path: ("pending", said) for path, (_, said) in FAULTS.items()
    }
    for path, one in made.items():
        (delivered,) = await one.finished()
        first, second = [message for message in got if message.path == path]
        assert (first.body, first.headers["webhook-id"]) == (second.body, second.headers["webhook-id"])
        assert (delivered["status"], delivered["attempts"], delivered["responseStatus"], delivered["error"]) == ("succeeded", 2, 204, None)


async def test_message_about_a_runner_waits_until_the_one_before_it_was_taken(
    acme: Organization, plane: Plane, clock: Clock, receiver: Receiver
) -> None:
    made = await hook(acme, receiver.url(), "runner.enrolled", "runner.offline")
    receiver.answers = [status(500), status(503)]
    await acme.runner()
    await plane.settle()
    await made.attempted()
    clock.pass_by(seconds=200)
    await plane.settle()
    first = await receiver.take(2)

    other = await acme.runner("other")
    await plane.settle()
    third = await receiver.next()
    clock.pass_by(seconds=50)
    await plane.settle()

    rest = await receiver.take(2)
    await made.finished()
    assert [message.type for message in first] == ["runner.enrolled"] * 2
    assert third.data["runnerId"] == other.id
    assert [message.type for message in rest] == ["runner.enrolled", "runner.offline"]
    assert receiver.received.empty()


async def test_runner_that_comes_and_goes_within_a_minute_is_told_of_once_each(
    acme: Organization, plane: Plane, clock: Clock, runner: Runner, receiver: Receiver
) -> None:
    made = await hook(acme, receiver.url(), *STATES)
    for _ in range(3):
        clock.pass_by(seconds=2)
        await runner.call("POST", "/goodbye")
        await plane.settle()
        clock.pass_by(seconds=2)
        await runner.beat()
        await plane.settle()

    got = await receiver.take(2)
    clock.pass_by(seconds=60)
    await runner.beat()
    await plane.settle()

    log = await made.finished()
    assert [message.type for message in got] == ["runner.offline", "runner.recovered"]
    assert receiver.received.empty()
    assert [one["status"] for one in log] == ["collapsed", "collapsed", "succeeded", "succeeded"]


async def test_runner_that_is_gone_again_is_told_of_when_the_minute_is_over(
    acme: Organization, plane: Plane, clock: Clock, runner: Runner, receiver: Receiver
) -> None:
    made = await hook(acme, receiver.url(), *STATES)
    await runner.call("POST", "/goodbye")
    await plane.settle()
    clock.pass_by(seconds=2)
    await runner.beat()
    clock.pass_by(seconds=2)
    await runner.call("POST", "/goodbye")
    await plane.settle()
    first = await receiver.take(2)
    held = await made.log(status="held")

    clock.pass_by(seconds=56)
    await plane.settle()

    last = await receiver.next()
    assert [message.type for message in first] == ["runner.offline", "runner.recovered"]
    assert [one["nextAttemptAt"] for one in held] == ["2026-05-03T09:16:32Z"]
    assert last.type == "runner.offline"


async def test_receiver_that_is_gone_for_good_ends_its_webhook_with_a_trail(acme: Organization, plane: Plane, receiver: Receiver) -> None:
    made = await hook(acme, receiver.url(), "runner.enrolled")
    receiver.answers = [status(410)]
    before = await scraped(plane)
    await acme.runner()
    await plane.settle()
    await receiver.next()

    (given_up,) = await made.finished()

    shown, trail = await made.shown(), (await acme.get(f"/audit-events?subjectId={made.id}")).json()["auditEvents"]
    assert (shown["enabled"], shown["disabledReason"]) == (False, "The receiver answered 410: it is gone for good.")
    assert (trail[0]["action"], trail[0]["actor"]) == ("webhook.disabled", "system")
    refused = await acme.post(f"/webhooks/{made.id}/deliveries/{given_up['id']}/replay")
    assert (refused.status_code, refused.json()["code"]) == (409, "webhook_disabled")
    after = await scraped(plane)
    name = "apviso_webhook_deliveries_total"
    assert after(name, kind="webhook", result="given_up") - before(name, kind="webhook", result="given_up") == 1


async def test_receiver_that_fails_for_a_day_is_not_called_any_more_until_it_is_enabled_again(
    acme: Organization, plane: Plane, clock: Clock, receiver: Receiver
) -> None:
    made = await hook(acme, receiver.url(), "runner.enrolled")
    receiver.answers = [status(500)] * 11
    await acme.runner("one")
    for attempt in range(1, 12):
        await plane.settle()
        await made.attempted(attempt)
        clock.pass_by(hours=10)
    await receiver.take(11)
    (given_up,) = await made.finished()
    ended = await made.shown()
    await acme.runner("unheard")
    await plane.settle()

    await acme.patch(f"/webhooks/{made.id}", {"enabled": True})
    await acme.post(f"/webhooks/{made.id}/deliveries/{given_up['id']}/replay")
    again = await receiver.next()
    await acme.runner("two")
    await plane.settle()
    new = await receiver.next()

    assert (ended["enabled"], ended["disabledReason"]) == (False, "Every delivery has failed for more than a day.")
    assert [message.data["name"] for message in (again, new)] == ["one", "two"]
    assert again.headers["webhook-id"] == given_up["messageId"]
    await made.finished()
    assert (await made.shown())["failingSince"] is None


async def test_test_event_for_a_disabled_webhook_is_sent_once(acme: Organization, receiver: Receiver) -> None:
    made = await hook(acme, receiver.url(), enabled=False)
    receiver.answers = [status(500)]

    await made.tried()

    assert (await receiver.next()).data == {"webhookId": made.id}
    (given_up,) = await made.finished()
    assert (given_up["event"], given_up["status"], given_up["error"]) == ("webhook.test", "failed", "The receiver answered 500.")


async def test_slow_receiver_holds_up_no_other(acme: Organization, plane: Plane, receiver: Receiver) -> None:
    async with receiving() as slow:
        stuck = await hook(acme, slow.url(), "runner.enrolled")
        slow.answers = [NEVER] * 5
        await hook(acme, receiver.url(), "runner.enrolled")
        for number in range(5):
            await acme.runner(f"runner-{number}")

        await plane.settle()

        assert {message.data["name"] for message in await receiver.take(5)} == {f"runner-{number}" for number in range(5)}
        # Four at a time at most.
        assert slow.connections <= 4
        await stuck.attempted()


# ---- where messages go


async def test_name_of_the_receiver_is_spoken_to_at_the_judged_address_over_tls(tmp_path: Path) -> None:
    async with receiving(self_signed(tmp_path, "localhost")) as receiver:
        sender = Sender(Policy(tuple(LOOPBACK)), tmp_path / "server.pem", 5.0)

        outcome = await sender.send(receiver.url("localhost"), {}, b"{}", NOW)

        got = await receiver.next()
    assert outcome == Outcome(None, 204)
    assert got.headers["host"] == f"localhost:{receiver.port}"


async def test_name_server_that_hangs_for_one_receiver_holds_up_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, let_go, look_up = list[str](), threading.Event(), socket.getaddrinfo

    def slowly(host: str, *rest: Any, **more: Any) -> Any:
        if host == "hangs.example":
            asked.append(host)
            let_go.wait(20)
        return look_up(host, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", slowly)
    async with receiving(self_signed(tmp_path, "localhost")) as receiver:
        sender = Sender(Policy(tuple(LOOPBACK)), tmp_path / "server.pem", 5.0)
        hanging = [asyncio.create_task(sender.send("https://hangs.example/", {}, b"{}", NOW)) for _ in range(100)]
        outcome = await sender.send(receiver.url("localhost"), {}, b"{}", NOW)
        for task in hanging:
            task.cancel()
        let_go.set()
        sender.close()

    assert outcome == Outcome(None, 204)
    assert asked == ["hangs.example"]


async def test_certificate_for_another_name_or_by_nobody_known_is_not_accepted(tmp_path: Path) -> None:
    async with receiving(self_signed(tmp_path, "elsewhere.example")) as receiver:
        trusting, stranger = [Sender(Policy(tuple(LOOPBACK)), authorities, 5.0) for authorities in (tmp_path / "server.pem", None)]
        wrong_name = await trusting.send(receiver.url("localhost"), {}, b"{}", NOW)
        unknown = await stranger.send(receiver.url("localhost"), {}, b"{}", NOW)

    begin = "The receiver's certificate is not accepted: "
    assert wrong_name.error is not None
    assert wrong_name.error.startswith(f"{begin}Hostname mismatch")
    assert (unknown.error, receiver.received.empty()) == (f"{begin}self-signed certificate", True)


async def test_address_that_is_not_allowed_any_more_is_never_connected_to(settings: Settings, clock: Clock, receiver: Receiver) -> None:
    async with running(settings, clock) as plane:
        acme = await plane.organization("Acme")
        made = [await hook(acme, receiver.url()), await hook(acme, receiver.url("localhost"))]

    async with running(settings.model_copy(update={"webhook_allowed_networks": LOOPBACK[1:]}), clock) as strict:
        for one in made:
            one.organization = Organization(strict.client, acme.id, acme.key)
            await one.tried()
        errors = [(await one.finished())[0]["error"] for one in made]

    assert errors == ["The receiver is at an internal address, which the operator of the server does not allow."] * 2
    assert receiver.connections == 0


# ---- nothing is lost


async def test_events_before_a_restart_are_told_after_it_once(settings: Settings, clock: Clock, receiver: Receiver) -> None:
    async with running(settings, clock) as plane:
        acme = await plane.organization("Acme")
        made = await hook(acme, receiver.url(), "runner.enrolled")
        receiver.answers = [status(500)]
        await acme.runner("queued")
        await plane.settle()
        await made.attempted()
        await acme.runner("on-the-stream")

    clock.pass_by(seconds=7)
    async with running(settings, clock) as plane:
        await plane.settle()
        got = await receiver.take(3)
        made.organization = Organization(plane.client, acme.id, acme.key)
        await made.finished()
        await plane.settle()

    assert sorted(message.data["name"] for message in got) == ["on-the-stream", "queued", "queued"]
    assert receiver.received.empty()


async def test_message_of_a_process_that_died_is_sent_when_its_lease_has_run_out(
    acme: Organization, plane: Plane, clock: Clock, receiver: Receiver
) -> None:
    made = await hook(acme, receiver.url())
    async with plane.resources.database.writing() as work:
        await store.enqueue(work, made.id, [Message("scan.failed", "scan:1", work.now, '{"type":"scan.failed"}', work.now)])
        (claimed,) = await store.claim(work, [number for number, _ in await store.list_due(work, [], 1)], LEASE)
    await plane.settle()
    (under_way,) = await made.log()

    clock.pass_by(seconds=LEASE.total_seconds())
    await plane.settle()

    got = await receiver.next()
    assert (under_way["status"], under_way["attempts"]) == ("pending", 1)
    assert (got.type, got.headers["webhook-id"]) == ("scan.failed", claimed.message_id)
    assert [(one["status"], one["attempts"]) for one in await made.finished()] == [("succeeded", 2)]


async def test_message_claimed_by_two_at_once_is_given_to_one(acme: Organization, plane: Plane) -> None:
    made = await hook(acme, "http://127.0.0.1:9/", "runner.enrolled")
    database = plane.resources.database
    async with database.writing() as work:
        await store.edit(work, made.id, enabled=False)
        rows = [Message("runner.enrolled", f"runner:{n}", work.now, "{}", plane.clock.now.replace(year=2027)) for n in range(8)]
        await store.enqueue(work, made.id, rows)
    plane.clock.now = plane.clock.now.replace(year=2028)

    async def claim() -> list[int]:
        async with database.writing() as work:
            due = [number for number, _ in await store.list_due(work, [], 8)]
            return [one.number for one in await store.claim(work, due, LEASE)]

    claims = await asyncio.gather(*(claim() for _ in range(4)))

    taken = [number for numbers in claims for number in numbers]
    assert len(taken) == len(set(taken))


async def test_stream_with_more_events_than_one_batch_is_told_in_one_round(acme: Organization, plane: Plane, receiver: Receiver) -> None:
    await hook(acme, receiver.url(), "readiness.changed")
    async with plane.resources.database.writing() as work:
        for _ in range(stream.BATCH):
            stream.publish(work, OrganizationId(acme.id), "scan.progress")
        stream.publish(work, OrganizationId(acme.id), "readiness.changed", ready=False)

    await plane.settle()

    assert (await receiver.next()).data == {"ready": False}


async def test_body_of_a_message_is_json_with_the_data_of_the_event(acme: Organization, plane: Plane, receiver: Receiver) -> None:
    await hook(acme, receiver.url(), "runner.enrolled")
    runner = await acme.runner("näme")
    await plane.settle()

    got = await receiver.next()

    assert json.loads(got.body) == {
        "type": "runner.enrolled",
        "timestamp": "2026-05-03T09:15:32Z",
        "data": {"runnerId": runner.id, "name": "näme"},
    }


async def test_receiver_is_told_of_a_runner_that_was_quarantined_with_the_scans_that_it_failed(
    acme: Organization, runner: Runner, plane: Plane, receiver: Receiver
) -> None:
    await hook(acme, receiver.url(), "runner.quarantined")
    cases = [await queued_scan(acme, runner) for _ in range(3)]
    for _ in cases:
        await runner.on_job(await runner.claimed(), "finish", status="failed", endReason="image_refused", lastSeq=0)

    await plane.settle()

    got = await receiver.next()
    assert (got.type, got.data["runnerId"]) == ("runner.quarantined", runner.id)
    assert {one["scanId"] for one in got.data["failures"]} == {case.scan_id for case in cases}
