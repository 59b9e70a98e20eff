"""What webhooks are told, when, again how often, and where to: rules without a database."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from standardwebhooks.webhooks import Webhook

from apviso.protocol.webhooks import TEST_EVENT, WebhookEvent
from apviso.protocol.wire import OrganizationId
from apviso.server.errors import InvalidFields
from apviso.server.webhooks.catalogue import chosen, names_of, payload, subject_of
from apviso.server.webhooks.destination import Policy, are_permitted, check_url
from apviso.server.webhooks.facts import Claimed, Kind, Outcome, Sealed
from apviso.server.webhooks.flapping import Told, told_when
from apviso.server.webhooks.places import MOST_KNOWN, Places
from apviso.server.webhooks.retries import DISABLED_AFTER, PAUSES, Verdict, after
from apviso.server.webhooks.signing import OVERLAP, headers, in_force, overlap_until, rotated, secret_of

NOW = datetime(2026, 5, 3, 9, 15, 32, tzinfo=UTC)
EVERYTHING = frozenset({"*"})
FAILED = Outcome("The receiver answered 500.", 500)


def at(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


# ---- which messages


def told(type_: str, wanted: frozenset[str] = EVERYTHING, **data: Any) -> list[str]:
    """The names of the messages that a webhook gets for an event."""
    names = (chosen(one, wanted) for one in names_of(type_, data))
    return [str(name) for name in names if name is not None]


@pytest.mark.parametrize("event", [one for one in WebhookEvent if one is not WebhookEvent.RUNNER_RECOVERED])
def test_event_under_its_own_name_is_told(event: WebhookEvent) -> None:
    assert told(event) == [event]


@pytest.mark.parametrize(
    ("type_", "data", "expected"),
    [
        ("runner.online", {"previousStatus": "offline"}, ["runner.recovered"]),
        ("runner.online", {"previousStatus": "degraded"}, ["runner.recovered"]),
        ("runner.online", {"previousStatus": "offline", "previousReasons": ["said_goodbye"]}, ["runner.recovered"]),
        ("runner.online", {"previousStatus": "offline", "previousReasons": ["never_contacted"]}, ["runner.online"]),
        ("runner.online", {"previousStatus": None}, ["runner.online"]),
        ("scan.preflight_failed", {"attempt": 1}, ["scan.failed"]),
        ("scan.completed", {"attempt": 1}, ["scan.completed"]),
        ("scan.failed", {"attempt": 2}, ["scan.failed"]),
        ("scan.cancelled", {"attempt": 0}, ["scan.cancelled"]),
        ("scan.progress", {"attempt": 1}, []),
        ("webhook.disabled", {}, []),
        ("runner.paused", {}, []),
    ],
)
def test_event_of_the_stream_becomes_the_messages_it_stands_for(type_: str, data: dict[str, Any], expected: list[str]) -> None:
    assert told(type_, **data) == expected


def test_recovery_for_who_wants_online_alone_is_told_under_that_name() -> None:
    wanted = frozenset({"runner.online", "runner.offline"})

    assert told("runner.online", wanted, previousStatus="offline") == ["runner.online"]
    assert told("runner.online", frozenset({"runner.offline"}), previousStatus="offline") == []


@pytest.mark.parametrize(
    ("type_", "data", "subject"),
    [
        ("runner.offline", {"runnerId": "r"}, "runner:r"),
        ("scan.completed", {"scanId": "s", "runnerId": "r"}, "scan:s"),
        ("finding.created", {"findingId": "f", "scanId": "s"}, "scan:s"),
        ("schedule.skipped", {"scheduleId": "p"}, "schedule:p"),
        ("readiness.changed", {}, "readiness"),
    ],
)
def test_subject_of_an_event_is_what_it_is_about(type_: str, data: dict[str, Any], subject: str) -> None:
    assert subject_of(type_, data) == subject


def test_payload_of_a_message_has_type_timestamp_and_data() -> None:
    said = json.loads(payload("scan.failed", NOW, {"scanId": "s"}))

    assert said == {"type": "scan.failed", "timestamp": "2026-05-03T09:15:32Z", "data": {"scanId": "s"}}


# ---- runners that come and go


@pytest.mark.parametrize(
    ("event", "moment", "known", "expected"),
    [
        ("offline", 0, [], 0),
        ("recovered", 10, [Told("offline", at(0))], 10),
        ("offline", 20, [Told("offline", at(0)), Told("recovered", at(10))], 60),
        ("offline", 60, [Told("offline", at(0)), Told("recovered", at(10))], 60),
        # It was held as offline; now it is back where the receiver believes it to be.
        ("recovered", 30, [Told("offline", at(0)), Told("recovered", at(10)), Told("offline", at(60), is_held=True)], None),
        # It was held as offline, and is something else now.
        ("degraded", 30, [Told("offline", at(0)), Told("recovered", at(10)), Told("offline", at(60), is_held=True)], 30),
        # A receiver that wants nothing but offline has not heard that the runner was back.
        ("offline", 40, [Told("offline", at(0))], 60),
        # What was sent late counts from then on.
        ("offline", 85, [Told("offline", at(0)), Told("offline", at(60))], 120),
    ],
)
def test_change_of_a_runner_is_told_when_it_is_news(event: str, moment: float, known: list[Told], expected: float | None) -> None:
    assert told_when(event, at(moment), known) == (None if expected is None else at(expected))


# ---- again


def claimed(attempt: int, **more: Any) -> Claimed:
    facts: dict[str, Any] = {
        "number": 1,
        "message_id": "msg_1",
        "webhook_id": "w",
        "organization_id": OrganizationId("o"),
        "kind": Kind.WEBHOOK,
        "url": "https://hooks.example.com",
        "secrets": (),
        "event": "scan.failed",
        "body": "{}",
        "attempt": attempt,
        "failing_since": NOW - timedelta(hours=25),
    }
    return Claimed(**(facts | more))


def test_failed_delivery_is_tried_again_for_more_than_a_day_and_given_up() -> None:
    moment, attempts = NOW, 1
    while (then := after(claimed(attempts), FAILED, moment, 0.0)).at is not None:
        moment, attempts = then.at, attempts + 1

    assert then.verdict is Verdict.GIVEN_UP
    assert (attempts, moment - NOW > DISABLED_AFTER) == (len(PAUSES) + 1, True)


def test_pauses_spread_upwards_alone() -> None:
    waits = [after(claimed(1), FAILED, NOW, spread).at for spread in (0.0, 0.5, 1.0)]

    assert waits == [at(5), at(5.5), at(6)]


@pytest.mark.parametrize(("wish", "seconds"), [(None, 5), (1.0, 5), (60.0, 60), (10.0**9, 6 * 3600)])
def test_wish_of_a_receiver_makes_a_pause_longer_within_bounds(wish: float | None, seconds: float) -> None:
    then = after(claimed(1), Outcome("The receiver answered 429.", 429, wish), NOW, 0.0)

    assert then.at == at(seconds)


@pytest.mark.parametrize(
    ("delivery", "outcome", "verdict", "is_disabled"),
    [
        (claimed(1), Outcome(None, 204), Verdict.SUCCEEDED, False),
        (claimed(1), Outcome("gone", 410), Verdict.GIVEN_UP, True),
        (claimed(11), FAILED, Verdict.GIVEN_UP, True),
        (claimed(11, failing_since=NOW - timedelta(hours=23)), FAILED, Verdict.GIVEN_UP, False),
        (claimed(11, failing_since=None), FAILED, Verdict.GIVEN_UP, False),
        (claimed(1, event=TEST_EVENT), FAILED, Verdict.GIVEN_UP, False),
        (claimed(11, kind=Kind.NOTIFY), FAILED, Verdict.GIVEN_UP, False),
        (claimed(1, kind=Kind.NOTIFY), Outcome("gone", 410), Verdict.RETRIED, False),
    ],
)
def test_webhook_is_disabled_for_a_day_of_failures_or_a_receiver_that_is_gone(
    delivery: Claimed, outcome: Outcome, verdict: Verdict, is_disabled: bool
) -> None:
    then = after(delivery, outcome, NOW, 0.0)

    assert (then.verdict, then.disabled_for is not None) == (verdict, is_disabled)


# ---- signatures


def test_signature_is_the_one_of_the_reference_library() -> None:
    secrets = [secret_of(bytes(range(32))), secret_of(bytes(32))]

    sent = headers(secrets, "msg_1", NOW, b'{"a":1}')

    assert sent["webhook-signature"].split() == [Webhook(secret).sign("msg_1", NOW, '{"a":1}') for secret in secrets]


def test_secret_that_was_replaced_signs_for_a_day_more() -> None:
    first, second = Sealed("first"), Sealed("second")

    secrets = rotated([first], second, NOW)

    assert [one.text for one in in_force(secrets, NOW + OVERLAP - timedelta(seconds=1))] == ["second", "first"]
    assert [one.text for one in in_force(secrets, NOW + OVERLAP)] == ["second"]
    assert (overlap_until(secrets, NOW), overlap_until(secrets, NOW + OVERLAP)) == (NOW + OVERLAP, None)


def test_rotation_that_is_repeated_keeps_the_secret_that_the_receiver_knows() -> None:
    secrets = rotated(rotated([Sealed("known")], Sealed("lost"), NOW), Sealed("new"), NOW + timedelta(hours=1))

    assert [one.text for one in in_force(secrets, NOW + timedelta(hours=2))] == ["new", "lost", "known"]
    assert in_force(secrets, NOW + OVERLAP)[-1].text == "lost"
    assert len(rotated(rotated(secrets, Sealed("4"), NOW), Sealed("5"), NOW)) == 4


# ---- where to


@pytest.mark.parametrize(
    "url",
    [
        "http://hooks.example.com/",
        "ftp://hooks.example.com/",
        "https://user:password@hooks.example.com/",
        "https://hooks.example.com/#part",
        "https://127.0.0.1/",
        "https://127.1/",
        "https://0x7f000001/",
        "https://[::1]/",
        "https://[::ffff:10.0.0.1]/",
        "https://[64:ff9b::a9fe:a9fe]/",
        "https://10.1.2.3/",
        "https://100.64.0.1/",
        "https://169.254.169.254/latest/meta-data",
        "https://[fd00:ec2::254]/",
        "https://224.0.0.1/",
        "https://0.0.0.0/",
        "https://localhost/",
        "https://hooks.internal/",
        "https://metadata/",
    ],
)
def test_url_that_leads_inside_or_is_not_safe_is_refused(url: str) -> None:
    with pytest.raises(InvalidFields):
        check_url(url, Policy())


def test_url_that_the_operator_allows_is_taken() -> None:
    policy = Policy((ip_network("10.1.0.0/16"),), allows_http=True)

    taken = [check_url(url, policy).text for url in ("https://hooks.example.com/x?y=1", "http://10.1.2.3:8080/", "http://hooks.internal/")]

    assert taken == ["https://hooks.example.com/x?y=1", "http://10.1.2.3:8080/", "http://hooks.internal/"]
    with pytest.raises(InvalidFields):
        check_url("http://10.2.0.1/", policy)


@pytest.mark.parametrize(
    ("addresses", "expected"),
    [
        (["93.184.216.34"], True),
        (["93.184.216.34", "2606:2800:220:1::1"], True),
        (["93.184.216.34", "127.0.0.1"], False),
        (["fe80::1%1"], False),
        (["10.1.2.3"], True),
        (["10.1.2.3", "10.2.0.1"], False),
    ],
)
def test_name_is_permitted_where_all_of_its_addresses_are(addresses: list[str], expected: bool) -> None:
    policy = Policy((ip_network("10.1.0.0/16"),))

    assert are_permitted([ip_address(one) for one in addresses], policy) is expected


# ---- places


def placed(places: Places, load: Counter[str], wanted: Iterable[str]) -> Counter[str]:
    """What gets a place, of messages for these webhooks in this order."""
    taken: Counter[str] = Counter()
    for webhook_id in wanted:
        if webhook_id not in places.full(load) and places.has_room(webhook_id, load):
            load[webhook_id] += 1
            taken[webhook_id] += 1
    return taken


def test_receivers_that_hang_leave_room_for_those_that_answer() -> None:
    places, hanging = Places(), [f"hangs-{number}" for number in range(100)]
    for webhook_id in hanging:
        places.note(webhook_id, 15.0)
    places.note("answers", 0.05)

    taken = placed(places, Counter(), [*hanging * 5, *["answers", "new"] * 10])

    assert taken.total() == 32 + 4 + 1
    assert (taken["answers"], taken["new"], max(taken[one] for one in hanging)) == (4, 1, 1)


def test_receiver_that_answers_soon_again_gets_its_places_back_and_there_is_an_end_of_them() -> None:
    places = Places()
    for number in range(20):
        places.note(f"hook-{number}", 15.0)
        places.note(f"hook-{number}", 0.05)

    taken = placed(places, Counter(), [f"hook-{number}" for number in range(20)] * 5)

    assert (taken.total(), max(taken.values())) == (64, 4)


def test_receivers_that_are_remembered_are_bounded() -> None:
    places = Places()
    for number in range(MOST_KNOWN + 1):
        places.note(f"hook-{number}", 0.05)

    # The first one is as unknown as before.
    assert placed(places, Counter(), ["hook-0"] * 4 + ["hook-1"] * 4) == Counter({"hook-0": 1, "hook-1": 4})
