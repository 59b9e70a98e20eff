"""Tells TLS handshakes from everything else, for tunnels in which the guard cannot see requests. Pure; runs inside the guard's process.

A TLS check needs the target's own handshake, byte for byte. So that nobody can use such a tunnel to send a request past the guard's
rules, it carries the records of a handshake and no application data (RFC 8446, RFC 5246)."""

from __future__ import annotations

from collections.abc import Iterator

CHANGE_CIPHER_SPEC, ALERT, HANDSHAKE, APPLICATION_DATA, HEARTBEAT = 20, 21, 22, 23, 24
HEADER_BYTES = 5
MAX_RECORD_BYTES = 16_384 + 256
# Client hellos and key exchanges fit many times; a request body does not.
MAX_SENT_BYTES = 32_768
CLIENT_HELLO, SERVER_HELLO = 1, 2
EARLY_DATA, SUPPORTED_VERSIONS = 42, 43
TLS_1_3 = b"\x03\x04"
# Its short tags leave room for a few letters where others leave none.
CCM_8 = b"\x13\x05"
# From TLS 1.3 on, what ends a handshake looks like application data: `Finished` with one of its two hashes, then the alert that closes.
FINISHED_BYTES = frozenset({4 + 32 + 17, 4 + 48 + 17})
CLOSING_BYTES = 2 + 17


class Records:
    """The record headers in a stream that arrives in pieces of any size. A piece is (type, length)."""

    def __init__(self) -> None:
        self._waiting = b""
        self._left = 0

    def feed(self, data: bytes) -> Iterator[tuple[int, int]]:
        """Each record whose header is complete. Raises ValueError for what is no TLS."""
        while data:
            if self._left:
                skipped = min(self._left, len(data))
                self._left -= skipped
                data = data[skipped:]
                continue
            needed = HEADER_BYTES - len(self._waiting)
            self._waiting, data = self._waiting + data[:needed], data[needed:]
            if len(self._waiting) == HEADER_BYTES:
                kind, version, self._left = self._waiting[0], self._waiting[1], int.from_bytes(self._waiting[3:], "big")
                self._waiting = b""
                if version != 3 or self._left > MAX_RECORD_BYTES:
                    raise ValueError("no TLS record")
                yield kind, self._left


class Tunnel:
    """One tunnel. `send` says what of the client's bytes may go on; ValueError means that the tunnel must end."""

    def __init__(self) -> None:
        self._from_client, self._from_target = Records(), Records()
        self._hello: bytes | None = b""
        self._answer: bytes | None = b""
        self._is_1_3 = False
        self._sent = 0
        self._sealed = 0
        self._target_seals = False

    def receive(self, data: bytes) -> None:
        """Note what the target answers."""
        for kind, _ in self._from_target.feed(data):
            self._target_seals = self._target_seals or kind == APPLICATION_DATA
        if self._answer is not None:
            self._answer += data
            if is_whole(self._answer):
                self._is_1_3, self._answer = agrees_on_1_3(self._answer), None

    def send(self, data: bytes) -> bytes:
        """The bytes that may go on now: nothing until the first record is whole, then that record and all that follows."""
        self._sent += len(data)
        if self._sent > MAX_SENT_BYTES:
            raise ValueError("more than a handshake")
        for kind, length in self._from_client.feed(data):
            self._check(kind, length)
        if self._hello is None:
            return data
        self._hello += data
        if not is_whole(self._hello):
            return b""
        held, self._hello = self._hello, None
        check_hello(held)
        return held

    def _check(self, kind: int, length: int) -> None:
        if kind in (CHANGE_CIPHER_SPEC, ALERT, HANDSHAKE, HEARTBEAT):
            return
        # Up to TLS 1.2 nothing of a handshake looks like this, and a target that speaks first would then take it for a request.
        # The first sealed record must be the end of the handshake, which the target insists on, and the next is too short for a request.
        fits = length in FINISHED_BYTES if self._sealed == 0 else length <= CLOSING_BYTES
        self._sealed += 1
        if kind != APPLICATION_DATA or not self._is_1_3 or not self._target_seals or not fits or self._sealed > 2:
            raise ValueError("no part of a handshake")


def is_whole(record: bytes) -> bool:
    """Whether a stream's first record has come to its end."""
    return len(record) >= HEADER_BYTES + int.from_bytes(record[3:5], "big")


def agrees_on_1_3(record: bytes) -> bool:
    """Whether a target's first record is a server hello for TLS 1.3, with a cipher suite whose records have the usual lengths."""
    hello = record[HEADER_BYTES:]
    if record[0] != HANDSHAKE or hello[:1] != bytes([SERVER_HELLO]):
        return False
    suite = 4 + 2 + 32 + 1 + int.from_bytes(hello[38:39], "big")
    return hello[suite : suite + 2] != CCM_8 and _extensions_at(hello, suite + 3).get(SUPPORTED_VERSIONS) == TLS_1_3


def check_hello(record: bytes) -> None:
    """Refuse a first record that is no whole client hello, and one that announces data before the handshake's end."""
    hello = record[HEADER_BYTES : HEADER_BYTES + int.from_bytes(record[3:5], "big")]
    if record[0] != HANDSHAKE or len(hello) < 4 or hello[0] != CLIENT_HELLO or len(hello) < 4 + int.from_bytes(hello[1:4], "big"):
        raise ValueError("no client hello")
    if EARLY_DATA in extensions(hello):
        raise ValueError("data before the end of the handshake")


def extensions(hello: bytes) -> dict[int, bytes]:
    """The extensions of a client hello by their kind. Raises ValueError where it is cut off."""
    place = 4 + 2 + 32
    for size in (1, 2, 1):  # session, cipher suites, compression methods
        place += size + int.from_bytes(hello[place : place + size], "big")
    return _extensions_at(hello, place)


def _extensions_at(hello: bytes, place: int) -> dict[int, bytes]:
    end = min(len(hello), 4 + int.from_bytes(hello[1:4], "big"))
    place += 2
    found = {}
    while place < end:
        if place + 4 > end:
            raise ValueError("a hello that is cut off")
        kind, length = int.from_bytes(hello[place : place + 2], "big"), int.from_bytes(hello[place + 2 : place + 4], "big")
        found[kind] = hello[place + 4 : place + 4 + length]
        place += 4 + length
    return found
