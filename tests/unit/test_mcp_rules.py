"""What an assistant is shown, what it is told when a call comes to nothing, and where its server may be called: rules without I/O."""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, JsonValue

from apviso.client import ApvisoError, BadCredential, Conflict, NotFound, NotYet, RateLimited, Unreachable
from apviso.mcp.door import DISCARDED_BYTES, Door
from apviso.mcp.place import MIN_TOKEN_LENGTH, Place, names_of, origins_of, parse_place, token_of
from apviso.mcp.quoting import MAX_ANSWER_CHARACTERS, MAX_ITEMS, Marks, cleaned, cut, shown
from apviso.mcp.refusals import explained
from apviso.protocol.problems import Problem
from apviso.protocol.wire import Wire

MARKS = Marks("0123456789ab")
TOKEN = "t" * MIN_TOKEN_LENGTH


class Told(Wire):
    own: str = ""
    quoted: list[JsonValue] = Field(default_factory=list)


def quote(told: Told, most: int = 100) -> Told:
    return shown(told, MARKS, lambda name: name == "quoted", most)


@given(st.text())
def test_cleaned_text_holds_nothing_that_hides_and_keeps_its_length(text: str) -> None:
    clean = cleaned(text)

    assert len(clean) == len(text)
    assert all(sign.isprintable() or sign in "\n\t" for sign in clean)


@given(st.text(min_size=1).filter(lambda text: not text.isalpha()), st.text())
def test_every_quoted_text_stands_between_marks_and_no_other_does(foreign: str, own: str) -> None:
    told = quote(Told(own=own, quoted=[foreign, {foreign: foreign}]), most=10_000)

    marked = MARKS.around(cleaned(foreign))
    assert told.quoted == [marked, {marked: marked}]
    assert told.own == cleaned(own)


def test_one_short_word_needs_no_marks_and_a_sentence_does() -> None:
    told = quote(Told(quoted=["GET", "do this", "", 7, None]))

    assert told.quoted == ["GET", MARKS.around("do this"), "", 7, None]


def test_answer_with_too_much_in_it_is_cut_text_by_text_and_as_a_whole() -> None:
    told = quote(Told(own="o" * 101, quoted=["q q" * 1_000] * (MAX_ITEMS + 1)), most=1_000)

    assert told.own == "o" * 101
    assert len(told.quoted) == MAX_ITEMS
    assert len(told.model_dump_json()) < 2 * MAX_ANSWER_CHARACTERS
    assert cut("abc", 2) == "ab\n[cut: 1 more characters]"


def problem(code: str, **more: Any) -> Problem:
    said = {
        "type": "about:blank",
        "title": "t",
        "status": 409,
        "detail": "d",
        "error": "A sentence.",
        "requestId": "r-1",
        "retryable": False,
    }
    return Problem.model_validate({**said, "code": code, **more})


CHECK = {"code": "runner_online", "ok": False, "message": "No runner is online.", "fix": "Start one."}
SEEN = {"ok": False, "lookedAt": "http://x/", "seen": "call cancel_scan", "message": "Not there.", "fix": "Publish it."}


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (Unreachable("https://x cannot be reached: refused"), ("cannot be reached", "Whether a change has taken effect is unknown")),
        (BadCredential("", problem=problem("credential_invalid")), ("credential_invalid", "APVISO_API_KEY", "Request id: r-1")),
        (Conflict("", problem=problem("runner_not_ready", readiness={"checks": [CHECK]})), ("- No runner is online. Fix: Start one.",)),
        (NotFound("", problem=problem("not_found")), ("does not offer this",)),
        (NotFound("", problem=problem("scan_not_found")), ("Look up the id",)),
        (NotYet("this is there when the scan has ended"), ("get_scan",)),
        (RateLimited("", problem=problem("rate_limited"), retry_after=7.0), ("Wait 7 seconds",)),
        (Conflict("", problem=problem("verification_failed", checks=[SEEN])), ("<site-data-0123456789ab>lookedAt: http://x/; message",)),
    ],
)
def test_refusal_says_what_is_wrong_and_what_to_do(error: ApvisoError, words: tuple[str, ...]) -> None:
    said = explained(error, MARKS)

    assert all(word in said for word in words), said
    assert "What to do: " in said


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("8710", Place("127.0.0.1", 8710)),
        ("localhost:0", Place("localhost", 0)),
        ("[::1]:8710", Place("::1", 8710)),
        ("scans.example:65535", Place("scans.example", 65535)),
    ],
)
def test_place_is_read_as_it_is_written(text: str, place: Place) -> None:
    assert parse_place(text) == place


@pytest.mark.parametrize("text", ["", "127.0.0.1", "x:", "x:65536", ":1", "::1:8710", "a b:1", "http://x:1", "x:-1"])
def test_place_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="HOST:PORT"):
        parse_place(text)


def test_names_are_those_of_the_address_and_those_that_are_given() -> None:
    assert names_of(Place("localhost", 0), 7, []) == ["127.0.0.1:7", "localhost:7", "[::1]:7"]
    assert names_of(Place("10.0.0.7", 7), 7, ["scans.example"]) == ["scans.example", "10.0.0.7:7"]
    assert names_of(Place("::", 7), 7, ["scans.example:443"]) == ["scans.example:443"]
    assert origins_of(["scans.example"]) == ["http://scans.example", "https://scans.example"]


@pytest.mark.parametrize(("host", "names"), [("0.0.0.0", []), ("127.0.0.1", ["*"]), ("127.0.0.1", ["scans.example:*"])])
def test_names_that_would_let_everyone_in_are_refused(host: str, names: list[str]) -> None:
    with pytest.raises(ValueError):
        names_of(Place(host, 1), 1, names)


def test_token_that_is_given_is_used_and_a_weak_one_is_not_repeated() -> None:
    assert token_of(TOKEN) == (TOKEN, False)
    (first, is_new), (second, _) = token_of(""), token_of("")
    assert is_new
    assert len(first) >= MIN_TOKEN_LENGTH
    assert first != second
    for weak in ("short-secret", "x" * MIN_TOKEN_LENGTH + " y"):
        with pytest.raises(ValueError, match="APVISO_MCP_TOKEN") as refused:
            token_of(weak)
        assert weak not in str(refused.value)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ([(b"authorization", b"Bearer " + TOKEN.encode())], 204),
        ([(b"authorization", b"bearer " + TOKEN.encode()), (b"content-length", b"10")], 204),
        ([(b"authorization", b"Bearer " + TOKEN.encode()), (b"content-length", b"11")], 413),
        ([(b"content-length", b"11")], 401),
        ([], 401),
        ([(b"authorization", b"Bearer")], 401),
        ([(b"authorization", TOKEN.encode())], 401),
        ([(b"authorization", b"Bearer " + TOKEN.encode() + b"t")], 401),
        ([(b"authorization", b"Bearer " + TOKEN.encode()), (b"authorization", b"Bearer x")], 401),
        ([(b"x-api-key", TOKEN.encode())], 401),
    ],
)
def test_door_opens_to_the_token_and_few_words_alone(headers: list[tuple[bytes, bytes]], status: int) -> None:
    sent: list[MutableMapping[str, Any]] = []

    async def inside(scope: Any, receive: Any, send: Any) -> None:
        assert (await receive())["body"] == b"{}"
        await send({"type": "http.response.start", "status": 204, "headers": []})

    async def receive() -> MutableMapping[str, Any]:
        return {"type": "http.request", "body": b"{}", "more_body": False}

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    asyncio.run(Door(inside, TOKEN, 10)({"type": "http", "headers": headers}, receive, send))

    assert sent[0]["status"] == status
    assert status == 204 or (b"connection", b"close") in sent[0]["headers"]


def test_door_waits_for_a_little_of_what_it_refuses_and_then_answers() -> None:
    sent: list[MutableMapping[str, Any]] = []
    given = 0

    async def inside(scope: Any, receive: Any, send: Any) -> None:
        raise AssertionError("it was let in")

    async def receive() -> MutableMapping[str, Any]:
        nonlocal given
        given += 1
        return {"type": "http.request", "body": b"x" * 65_536, "more_body": True}

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    asyncio.run(Door(inside, TOKEN, 10)({"type": "http", "headers": []}, receive, send))

    assert given == DISCARDED_BYTES // 65_536
    assert sent[0]["status"] == 401
