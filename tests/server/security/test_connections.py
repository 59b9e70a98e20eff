"""The socket of a real server, spoken to in bytes: no request hides in another, nobody who is slow or endless holds anything up."""

from __future__ import annotations

import json
import socket
from contextlib import ExitStack

import pytest

from tests.server.security.conftest import CONNECTIONS, HEAD_BYTES, Server
from tests.support.raw import SECONDS, Heard, is_cut_off, is_open, outlast, say

pytestmark = pytest.mark.slow

HIDDEN = b"GET /hidden HTTP/1.1\r\nHost: x\r\n\r\n"
HONEST = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


def get(path: bytes, *fields: bytes) -> bytes:
    return b"\r\n".join([b"GET " + path + b" HTTP/1.1", b"Host: x", *fields, b"", b""])


def post(*fields: bytes, body: bytes) -> bytes:
    """To the one address of the API whose body is read without a credential in the head."""
    return b"\r\n".join([b"POST /api/runner/register HTTP/1.1", b"Host: x", b"Content-Type: application/json", *fields, b"", body])


CHUNKED = b"Transfer-Encoding: chunked"
REST = b"Content-Length: %d" % len(HIDDEN)
NO_REQUESTS = {
    "a length and chunks": post(b"Content-Length: 5", CHUNKED, body=b"0\r\n\r\n" + HIDDEN),
    "chunks and a length": post(CHUNKED, b"Content-Length: 5", body=b"0\r\n\r\n" + HIDDEN),
    "two lengths": post(b"Content-Length: 0", REST, body=HIDDEN),
    "one length twice": post(REST, REST, body=HIDDEN),
    "a list of lengths": post(b"Content-Length: 0, 0", body=HIDDEN),
    "a length with a sign": post(b"Content-Length: +0", body=HIDDEN),
    "a length in another base": post(b"Content-Length: 0x0", body=HIDDEN),
    "a length beyond any number": post(b"Content-Length: 99999999999999999999999", body=HIDDEN),
    "a space before the colon of a length": post(b"Content-Length : 0", body=HIDDEN),
    "a space before the colon of a coding": post(b"Transfer-Encoding : chunked", body=b"0\r\n\r\n" + HIDDEN),
    "an unknown coding": post(b"Transfer-Encoding: xchunked", body=b"0\r\n\r\n" + HIDDEN),
    "a coding after chunked": post(b"Transfer-Encoding: chunked, identity", body=b"0\r\n\r\n" + HIDDEN),
    "a coding with a control character": post(b"Transfer-Encoding: \x0bchunked", body=b"0\r\n\r\n" + HIDDEN),
    "a folded field": post(b"X: y\r\n Content-Length: 0", body=HIDDEN),
    "a line feed alone in the head": post(b"X: y\n" + REST, body=HIDDEN),
    "a carriage return alone in the head": post(b"X: y\r" + REST, body=HIDDEN),
    "U+0000 in a field": post(b"X: \x00", body=HIDDEN),
    "a field without a name": post(b": x", body=HIDDEN),
    "a field without a colon": post(b"Content-Length", body=HIDDEN),
    "a size with a sign": post(CHUNKED, body=b"+0\r\n\r\n" + HIDDEN),
    "a size with a prefix": post(CHUNKED, body=b"0x0\r\n\r\n" + HIDDEN),
    "a size beyond any number": post(CHUNKED, body=b"FFFFFFFFFFFFFFFFF\r\n" + HIDDEN),
    "a chunk that is longer than its size": post(CHUNKED, body=b"2\r\nhello\r\n0\r\n\r\n" + HIDDEN),
    "a chunk with a line feed alone": post(CHUNKED, body=b"2\nhi\r\n0\r\n\r\n" + HIDDEN),
    "another version": b"GET /hidden HTTP/3.7\r\nHost: x\r\n\r\n",
    "a version of another framing": b"GET /hidden HTTP/2.0\r\nHost: x\r\n\r\n",
    "no version": b"GET /hidden\r\n\r\n",
    "the greeting of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a tunnel": b"CONNECT internal:80 HTTP/1.1\r\nHost: internal:80\r\n\r\n" + HIDDEN,
    "a space in the address": b"GET /hidden /hidden HTTP/1.1\r\nHost: x\r\n\r\n",
    "a greeting of TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
}


def test_request_that_two_readers_could_end_at_different_places_is_refused_and_the_connection_closed(server: Server) -> None:
    heard = {name: say(server.address, content) for name, content in NO_REQUESTS.items()}

    assert {name: one.statuses for name, one in heard.items() if one.statuses != [400]} == {}
    assert "/hidden" not in server.log()


def test_request_that_is_none_is_refused_as_a_problem(server: Server) -> None:
    heard = say(server.address, b"nonsense\r\n\r\n")

    head, _, body = heard.content.partition(b"\r\n\r\n")
    assert b"content-type: application/problem+json" in head
    assert b"connection: close" in head
    assert json.loads(body)["code"] == "bad_request"


@pytest.mark.parametrize("protocol", [b"h2c", b"websocket"])
def test_request_to_upgrade_is_answered_once_and_nothing_after_it_is_read(server: Server, protocol: bytes) -> None:
    upgrade = (
        b"Connection: Upgrade",
        b"Upgrade: " + protocol,
        b"Sec-WebSocket-Version: 13",
        b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
    )

    plain = say(server.address, get(b"/healthz", *upgrade), HIDDEN)
    with_body = say(server.address, post(*upgrade, REST, body=b""), HIDDEN)

    assert (plain.statuses, with_body.statuses) == ([200], [400])
    assert "/hidden" not in server.log()


def test_doubt_about_a_later_request_is_no_answer_to_an_earlier_one(server: Server) -> None:
    stream = get(b"/api/v1/events", b"X-API-Key: " + server.key.encode())

    heard = say(server.address, stream, b"nonsense\r\n\r\n")

    assert heard.statuses == [200]
    assert b"nonsense" not in heard.content


def test_fields_after_a_body_are_no_headers_of_the_request(server: Server) -> None:
    trailer = b"X-API-Key: " + server.key.encode()
    call = b"\r\n".join([b"POST /api/v1/targets HTTP/1.1", b"Host: x", b"Authorization: Bearer x", CHUNKED, b"Connection: close", b"", b""])

    heard = say(server.address, call + b"2\r\n{}\r\n0\r\n" + trailer + b"\r\n\r\n")

    assert heard.statuses == [401]


def test_head_that_is_too_large_is_refused_however_it_comes(server: Server) -> None:
    much = b"x" * (HEAD_BYTES + 1)
    heads = {
        "address": get(b"/" + much),
        "field": get(b"/healthz", b"X: " + much),
        "fields": get(b"/healthz", *[b"X: y"] * (HEAD_BYTES // 6)),
        "without an end": b"GET / HTTP/1.1\r\nX: " + much * 64,
    }

    heard = {name: say(server.address, head) for name, head in heads.items()}

    assert {name: one.statuses for name, one in heard.items() if one.statuses != [400]} == {}
    assert b"larger than 4096 bytes" in heard["field"].content


def test_client_that_is_slow_or_silent_is_closed_and_others_are_served(server: Server) -> None:
    length = b"Content-Length: 100000"
    with socket.create_connection(server.address, SECONDS) as stream:
        stream.sendall(get(b"/api/v1/events", b"X-API-Key: " + server.key.encode()))
        began = stream.recv(65536)

        heard = outlast(
            server.address,
            {
                "silence": (b"", b""),
                "head": (b"GET / HTTP/1.1\r\nX: ", b"y"),
                "fields": (b"GET / HTTP/1.1\r\n", b"X: y\r\n"),
                "empty lines": (get(b"/healthz"), b"\r\n"),
                "second head": (get(b"/healthz") + b"GET / HTTP/1.1\r\nX: ", b"y"),
                "body": (post(length, body=b"{"), b" "),
                "chunks": (post(CHUNKED, body=b""), b"1\r\n \r\n"),
                "body that is refused": (post(length, body=b"{").replace(b"register", b"heartbeat"), b" "),
                "trailer without an end": (post(CHUNKED, body=b"2\r\n{}\r\n0\r\nX: "), b"y" * HEAD_BYTES),
                "extension without an end": (post(CHUNKED, body=b"2;"), b"y" * HEAD_BYTES),
            },
        )

        assert say(server.address, HONEST).statuses == [200]
        assert began.startswith(b"HTTP/1.1 200")
        # A request that has come whole may wait for its answer as long as it likes.
        assert is_open(stream)
    answered = {"empty lines": [200], "second head": [200], "body that is refused": [401]}
    endless = {"trailer without an end": [400], "extension without an end": [400]}
    assert {name: one.statuses for name, one in heard.items() if one.statuses} == answered | endless


def test_client_that_takes_nothing_of_its_answers_is_cut_off(server: Server) -> None:
    assert is_cut_off(server.address, get(b"/openapi.json") * 60)


def test_connection_beyond_the_bound_is_closed_until_there_is_room(server: Server) -> None:
    stream = get(b"/api/v1/events", b"X-API-Key: " + server.key.encode())
    with ExitStack() as held:
        wires = [held.enter_context(socket.create_connection(server.address, SECONDS)) for _ in range(CONNECTIONS)]
        for wire in wires:
            wire.sendall(stream)
        began = [wire.recv(65536) for wire in wires]

        beyond = say(server.address, HONEST)

    assert {one[:12] for one in began} == {b"HTTP/1.1 200"}
    assert beyond == Heard(b"")
    assert _served_again(server) == [200]


def _served_again(server: Server) -> list[int]:
    """What an honest client hears once the places are free: the server learns of each end by itself."""
    while not (heard := say(server.address, HONEST)).statuses:
        pass
    return heard.statuses


def test_text_of_a_client_forges_no_header_and_no_line_of_the_log(server: Server) -> None:
    path = b"/nowhere%0d%0aSet-Cookie:%20forged=1%0a2026-05-03%20%5Berror%5D%20forged%1b%5B2J%e2%80%a8%c2%9b2J"

    heard = say(server.address, get(path, b"X-Request-Id: a\tforged", b"Connection: close"))

    assert heard.statuses == [404]
    assert b"forged" not in heard.content
    log = server.log()
    assert "forged" in log
    assert not any(line.startswith(("Set-Cookie", "2026-05-03 [error]")) for line in log.splitlines())
    assert [sign for sign in ("\x1b", "\x9b", "\u2028") if sign in log] == []
