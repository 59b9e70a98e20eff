"""What the client decides without a connection: repeating, paging, reading answers, following a stream, keeping its key."""

from __future__ import annotations

import json
from typing import Any

import pytest

from apviso.client import BadSettings, Client, Conflict, NotYet, RateLimited, Unavailable, Unreachable, UnreadableAnswer
from apviso.client.answers import MAX_ANSWER_BYTES, Collecting, read_answer
from apviso.client.calls import Answered, Call, Seen, create, get, query_of, remove, segment
from apviso.client.errors import ApvisoError
from apviso.client.following import Following
from apviso.client.listing import listing
from apviso.client.repeating import MAX_ATTEMPTS, Patience, patience_for
from apviso.client.waiting import ignore, scan_end
from apviso.protocol.licenses import Quota
from apviso.protocol.scans import ScanAnswer, ScanList
from apviso.protocol.targets import NewTarget, TargetAnswer, TargetList
from apviso.protocol.tokens import Namespace, new_token
from apviso.server.openapi_examples import QUEUED

KEY = new_token(Namespace.API_KEY)


def problem(code: str, status: int, **headers: str) -> Answered:
    told = {"type": f"/problems/{code}", "title": "No", "status": status, "detail": "No.", "code": code, "error": "No.", "requestId": "r-1"}
    return Answered(status, headers, json.dumps(told | {"retryable": False, "limit": 7}).encode())


@pytest.mark.parametrize(
    ("error", "may_repeat", "delay"),
    [
        (Unreachable("lost"), True, 0.5),
        (Unreachable("lost"), False, None),
        (RateLimited("slow down", retry_after=3), True, 3.5),
        (RateLimited("slow down", retry_after=3), False, None),
        (RateLimited("slow down", retry_after=3600), True, None),
        (Unavailable("busy", retry_after=1), True, 1.5),
        (Unavailable("broken"), True, None),
        (UnreadableAnswer("a proxy"), True, None),
        (UnreadableAnswer("a proxy", status=502), True, 0.5),
        (UnreadableAnswer("a proxy", status=502), False, None),
        (Conflict("no"), True, None),
    ],
)
def test_failure_of_a_call_is_repeated_only_where_that_is_safe_and_of_use(
    error: ApvisoError, may_repeat: bool, delay: float | None
) -> None:
    patience = Patience(may_repeat=may_repeat, draw=lambda: 1.0)

    assert patience.delay_after(error) == delay


def test_failures_in_a_row_are_repeated_a_bounded_number_of_times() -> None:
    patience = Patience(may_repeat=True, draw=lambda: 0.0)

    delays = [patience.delay_after(Unreachable("lost")) for _ in range(MAX_ATTEMPTS)]

    assert delays == [0.25, 0.5, 1.0, None]


def seconds_until_given_up(call: Call[Any]) -> float:
    """How long a control plane may be away before this call fails."""
    patience, total = patience_for(call), 0.0
    while (delay := patience.delay_after(Unreachable("lost"))) is not None:
        total += delay
    return total


@pytest.mark.parametrize(("seconds", "outlives"), [(None, True), (3600.0, True), (60.0, False)])
def test_wait_with_much_time_left_outlives_a_control_plane_that_is_updated(seconds: float | None, outlives: bool) -> None:
    steps = scan_end("s-1", seconds, ignore)

    first = next(steps)
    second = steps.send(Seen(ScanAnswer(scan=QUEUED), None))

    assert seconds_until_given_up(first) < 10
    assert (seconds_until_given_up(second) > 45) == outlives


def test_several_values_of_one_filter_are_written_one_by_one() -> None:
    query = query_of({"user_status": ("open", "fixed"), "target_id": None, "limit": 5, "severity": []})

    assert query == (("userStatus", "open"), ("userStatus", "fixed"), ("limit", "5"))


def test_create_carries_a_key_of_its_own_and_may_be_repeated() -> None:
    calls = [create("/targets", NewTarget(domain="a.example"), TargetAnswer) for _ in range(2)]

    keys = {dict(call.headers)["idempotency-key"] for call in calls}
    assert len(keys) == 2
    assert [call.may_repeat for call in calls] == [True, True]
    assert [call.body for call in calls] == [b'{"domain":"a.example"}'] * 2


def test_refusal_is_an_error_of_its_family_with_all_that_it_said() -> None:
    with pytest.raises(Conflict) as caught:
        read_answer(remove("/targets/1"), problem("target_has_scans", 409, **{"retry-after": "4"}))

    error = caught.value
    assert (error.code, error.status, error.request_id, error.retry_after) == ("target_has_scans", 409, "r-1", 4.0)
    assert error.member("limit") == 7


@pytest.mark.parametrize(
    ("status", "content", "kind"),
    [(200, b"<html>", UnreadableAnswer), (502, b"<html>", UnreadableAnswer), (302, b"", UnreadableAnswer), (202, b"{}", NotYet)],
)
def test_answer_that_is_none_of_the_control_plane_is_an_error(status: int, content: bytes, kind: type[ApvisoError]) -> None:
    with pytest.raises(kind):
        read_answer(get("/quota", Quota), Answered(status, {}, content))


def test_answer_that_is_too_long_or_too_late_is_cut_off() -> None:
    call = get("/quota", Quota)

    with pytest.raises(UnreadableAnswer):
        Collecting(call, deadline=10).add(b"x" * (MAX_ANSWER_BYTES + 1), moment=1)
    with pytest.raises(TimeoutError):
        Collecting(call, deadline=10).add(b"x", moment=11)


def test_list_that_knows_cursors_goes_by_them_and_another_by_pages() -> None:
    growing = listing("/scans", ScanList, lambda answer: answer.scans, status=None, target_id="t-1")
    counted = listing("/targets", TargetList, lambda answer: answer.targets)
    numbers = {"total": 250, "page": 2, "limit": 100, "total_pages": 3}

    following = growing.after(ScanList(scans=[], next_cursor="c-1", **numbers))
    second = counted.after(TargetList(targets=[], **numbers))

    assert following is not None
    assert following.query == (("limit", "100"), ("targetId", "t-1"), ("cursor", "c-1"))
    assert growing.after(ScanList(scans=[], **numbers)) is None
    assert second is not None
    assert second.query == (("limit", "100"), ("page", "3"))
    assert counted.after(TargetList(targets=[], **numbers | {"page": 3})) is None


def test_stream_that_is_cut_off_goes_on_where_it_was_and_ends_with_its_end() -> None:
    following = Following("/scans/s-1/log", (("after", "0"),))
    opened: list[Call[None]] = [following.call()]

    events = [following.read(line) for line in ("id: 7", "event: log", 'data: {"type":"log","seq":7}', "", ": keep-alive", "", "id: 8")]
    opened.append(following.call())
    after = [following.read(line) for line in ("event: end", 'data: {"status":"completed"}', "")]

    assert [event for event in events if event] == [{"type": "log", "seq": 7}]
    assert [dict(call.headers).get("last-event-id") for call in opened] == [None, "7"]
    assert after == [None, None, {"status": "completed", "type": "end"}]
    assert following.has_ended


def test_stream_that_is_cut_off_now_and_then_is_opened_again_for_as_long_as_it_lives_between() -> None:
    quiet, dead = Following("/events"), Following("/events")

    lived = []
    for _ in range(10):
        quiet.read(": keep-alive")
        lived.append(quiet.delay_after(quiet.cut_off()))
    given_up = [dead.delay_after(dead.cut_off()) for _ in range(4)]

    assert None not in lived
    assert given_up[-1] is None


def test_filter_with_several_values_is_sent_once_for_each() -> None:
    assert query_of({"severity": ["high", "low"], "cwe_id": 79, "q": None}) == (("severity", "high"), ("severity", "low"), ("cweId", "79"))


def test_stream_that_is_a_page_of_a_proxy_is_an_error() -> None:
    following = Following("/events")

    with pytest.raises(UnreadableAnswer):
        [following.read(line) for line in ("data: <html>", "")]


@pytest.mark.parametrize("identity", ["", ".", ".."])
def test_identity_that_would_be_another_address_is_refused(identity: str) -> None:
    with pytest.raises(ValueError):
        segment(identity)


def test_identity_of_a_hostile_kind_stays_one_part_of_the_path() -> None:
    assert segment("a/../b?c#d") == "a%2F..%2Fb%3Fc%23d"


def test_client_as_text_shows_the_prefix_of_its_key_alone() -> None:
    with Client("https://apviso.example.com/api/v1/", KEY.reveal()) as client:
        told = repr(client) + repr(client.__dict__["_connection"])

    assert KEY.prefix in told
    assert "https://apviso.example.com'" in told
    assert KEY.secret not in told


@pytest.mark.parametrize(
    ("url", "key", "word"),
    [
        (None, KEY.reveal(), "APVISO_API_URL"),
        ("https://apviso.example.com", None, "APVISO_API_KEY"),
        ("ftp://apviso.example.com", KEY.reveal(), "http"),
        ("https://apviso.example.com", new_token(Namespace.RUNNER).reveal(), "apvk_"),
        ("https://apviso.example.com", KEY.reveal()[:-1], "apvk_"),
    ],
    # Keys are drawn anew each time, and belong into no name.
    ids=["no address", "no key", "another scheme", "a runner's token", "a key cut short"],
)
def test_client_that_cannot_be_says_why_without_the_key(
    monkeypatch: pytest.MonkeyPatch, url: str | None, key: str | None, word: str
) -> None:
    for name in ("APVISO_API_URL", "APVISO_API_KEY"):
        monkeypatch.delenv(name, raising=False)

    with pytest.raises(BadSettings) as caught:
        Client(url, key)

    assert word in str(caught.value)
    assert KEY.secret not in str(caught.value)


def test_authorities_that_cannot_be_read_are_told_by_their_file(tmp_path: object) -> None:
    with pytest.raises(BadSettings) as caught:
        Client("https://apviso.example.com", KEY.reveal(), custom_ca=f"{tmp_path}/none.pem")

    assert "none.pem" in str(caught.value)


def test_proxy_that_cannot_be_used_is_told_by_its_variable_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "gopher://user:secret-word@proxy.example")

    with pytest.raises(BadSettings) as caught:
        Client("https://apviso.example.com", KEY.reveal())

    assert "HTTPS_PROXY" in str(caught.value)
    assert "secret-word" not in str(caught.value)
