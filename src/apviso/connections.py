"""What a client may do with its connection before the application hears of it: in how much time, in how many bytes, in which words.

For every server of ours that runs in uvicorn; how a refusal is worded is the server's own.
"""

from __future__ import annotations

import asyncio
from asyncio import TimerHandle
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, ClassVar, NoReturn, Protocol, cast

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol


@dataclass(frozen=True)
class Bounds:
    """`head_seconds` is also how long a new connection may be silent; `stalled_seconds` how long a client may take nothing of an answer."""

    head_seconds: float
    head_bytes: int
    body_seconds: float
    stalled_seconds: float
    connections: int


class Quick(Protocol):
    """Answers some of the POST requests to `path` in one go; for the others it has nothing, and they are handed over.

    `begin` is given the fields of the head, and what it makes of them goes to `end` with the body. `end` writes an answer of status 200
    with its body, from the first field of its head.
    """

    path: bytes

    def begin(self, fields: list[tuple[bytes, bytes]]) -> object | None: ...

    def end(self, head: Any, body: bytes) -> bytes | None: ...


@dataclass(frozen=True)
class Refusal:
    """The answer to what is no request."""

    status: int
    fields: Sequence[tuple[bytes, bytes]]
    content: bytes


# Says why, or None where the parser alone knows.
Refuse = Callable[[str | None], Refusal]


class _Part(Enum):
    """What of a request is still to come."""

    HEAD = "head"
    BODY = "body"
    NOTHING = "nothing"


class _NotTaken(Exception):
    """Ends the reading of a request."""


class Connection(HttpToolsProtocol):
    """uvicorn's connection with bounds; by itself it waits for ever and reads everything. After a doubt it is closed, never read on.

    Where two readers of one stream can differ on where a request ends, somebody else's request can be hidden in a body.
    """

    bounds: ClassVar[Bounds]
    refuse: ClassVar[Refuse]
    quick: ClassVar[Quick | None] = None
    # Of a request that may be answered in one go: what was made of its head, and so much of its body. uvicorn has not heard of it.
    _begun: object | None = None
    _body = b""
    _part = _Part.HEAD
    # Since a request or a piece of its body began; what the parser keeps for itself is in it.
    _bare_bytes = 0
    _latest_bytes = 0
    _doubt: str | None = None
    _is_deaf = False
    # Whether the bytes that came latest were the end of a request that was answered in one go.
    _has_answered = False
    _deadline: TimerHandle | None = None
    _stalled: TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self.bounds.connections:
            transport.abort()
            return
        self._expect()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._begun is not None:
            self._hand_over()
        self._expect_nothing()
        self._unstall()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._is_deaf:
            return
        self._latest_bytes = len(data)
        self._bare_bytes += self._latest_bytes
        self._has_answered = False
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._part is _Part.NOTHING:
            if self._has_answered or not self._is_idle():
                return
            # Less than the beginning of a request; it has stopped the clock that runs between two of them.
            self._part = _Part.HEAD
        if self._bare_bytes > self.bounds.head_bytes:
            self._doubt = self._too_large()
            self.send_400_response("")
            return
        self._expect()

    # The parts of a request, as they come: each heartbeat passes here, so nothing is called that need not be

    def on_message_begin(self) -> None:
        if self._deadline is not None:
            self._expect_nothing()
        self._part = _Part.HEAD
        self._bare_bytes = 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        most = self.bounds.head_bytes
        if (self._latest_bytes > most or self._bare_bytes > most) and self._head_bytes() > most:
            self._refuse(self._too_large())
        if self.parser.get_http_version() not in _VERSIONS:
            self._refuse("This server speaks HTTP/1.1 and HTTP/1.0.")
        # The parser takes all that follows a request to upgrade for another protocol, its body included.
        if self.parser.should_upgrade() and any(map(_announces_a_body, self.headers)):
            self._refuse("A request to upgrade the connection must have no body; this server speaks HTTP/1.1 and nothing else.")
        if self.quick is not None and self.url == self.quick.path and self._may_be_quick():
            self._begun, self._body = self.quick.begin(self.headers), b""
        if self._begun is None:
            self._take_up()
        if self._deadline is not None:
            self._expect_nothing()
        self._part = _Part.BODY

    def on_body(self, body: bytes) -> None:
        self._bare_bytes = 0
        if self._begun is None:
            super().on_body(body)
        elif len(self._body) + len(body) <= MOST_BODY_BYTES:
            self._body += body
        else:
            self._hand_over()
            super().on_body(body)

    def on_message_complete(self) -> None:
        if self._deadline is not None:
            self._expect_nothing()
        self._part = _Part.NOTHING
        if self._begun is None:
            super().on_message_complete()
        else:
            self._answer(self._begun)

    # A request that may be answered in one go, and how it comes to uvicorn after all

    def _may_be_quick(self) -> bool:
        """Whether nothing else is due on this connection, before the answer or after it."""
        parser = self.parser
        return (
            parser.get_method() == b"POST"
            and parser.get_http_version() == "1.1"
            and parser.should_keep_alive()
            and not (self.expect_100_continue or self.flow.write_paused or parser.should_upgrade())
            and self._is_idle()
        )

    def _answer(self, begun: object) -> None:
        answer = self.quick.end(begun, self._body) if self.quick is not None and not self.flow.write_paused else None
        if answer is None:
            self._hand_over()
            super().on_message_complete()
            return
        self._begun, self._body, self._has_answered = None, b"", True
        self.transport.write(_status_and(self.server_state.default_headers) + answer)
        self.on_response_complete()

    def _hand_over(self) -> None:
        body, self._begun, self._body = self._body, None, b""
        self._take_up()
        if body:
            super().on_body(body)

    def _take_up(self) -> None:
        super().on_headers_complete()
        # What comes after the body is none of the headers that the application has been given.
        self.headers = []

    def shutdown(self) -> None:
        if self._begun is not None:
            self._hand_over()
        super().shutdown()

    def _unsupported_upgrade_warning(self) -> None:
        """The request is answered as if it had not asked; what comes after it is in a protocol that nobody speaks here."""
        self._is_deaf = True
        self.cycle.keep_alive = False

    def _is_idle(self) -> bool:
        """Whether there is no request that still waits for its answer."""
        return bool(getattr(self.cycle, "response_complete", True))

    def _head_bytes(self) -> int:
        around = len(": \r\n")
        return len(self.url) + sum(len(name) + len(value) + around for name, value in self.headers)

    def _too_large(self) -> str:
        return f"The request line and the headers are larger than {self.bounds.head_bytes} bytes."

    # Refusals

    def _refuse(self, why: str) -> NoReturn:
        self._doubt = why
        raise _NotTaken(why)

    def send_400_response(self, msg: str) -> None:
        """The answer to what is no request, where it cannot be taken for the answer to another one; then the end."""
        self._expect_nothing()
        self._is_deaf = True
        if self._may_answer():
            refusal = type(self).refuse(self._doubt)
            fields = [*refusal.fields, (b"x-content-type-options", b"nosniff"), (b"connection", b"close")]
            head = b"".join(name + b": " + value + b"\r\n" for name, value in fields)
            self.transport.write(STATUS_LINE[refusal.status] + head + b"\r\n" + refusal.content)
        self.transport.close()

    def _may_answer(self) -> bool:
        if self._is_idle():
            # The rest of a request that was answered by its head alone gets no second answer.
            return self._part is not _Part.BODY
        return self._part is _Part.BODY and not self.cycle.response_started and not self.pipeline

    # Clocks

    def _expect(self) -> None:
        """Start the clock of the part that is still to come, where it does not run yet: bytes that trickle in do not wind it up."""
        if self._deadline is None and self._part is not _Part.NOTHING:
            seconds = self.bounds.head_seconds if self._part is _Part.HEAD else self.bounds.body_seconds
            self._deadline = self.loop.call_later(seconds, self.transport.close)

    def _expect_nothing(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stall()

    def resume_writing(self) -> None:
        self._unstall()
        super().resume_writing()

    def _stall(self) -> None:
        left = self.transport.get_write_buffer_size()
        self._stalled = self.loop.call_later(self.bounds.stalled_seconds, self._look_again, left)

    def _unstall(self) -> None:
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None

    def _look_again(self, left: int) -> None:
        """Slow is well; a client that has taken nothing at all is gone or means harm."""
        if self.transport.get_write_buffer_size() < left:
            self._stall()
        else:
            self.transport.abort()


# A heartbeat has less than one of these; what is longer is nobody's to keep here.
MOST_BODY_BYTES = 16_384
_VERSIONS = frozenset({"1.1", "1.0"})
# The latest fields that begin every answer, one of which is the date, and how they are sent after the status.
_before: tuple[list[tuple[bytes, bytes]], bytes] = ([], b"")


def _status_and(fields: list[tuple[bytes, bytes]]) -> bytes:
    """uvicorn makes a new list each second."""
    global _before
    if _before[0] is not fields:
        _before = (fields, STATUS_LINE[200] + b"".join([b"%b: %b\r\n" % field for field in fields]))
    return _before[1]


def _announces_a_body(field: tuple[bytes, bytes]) -> bool:
    name, value = field
    return name == b"transfer-encoding" or (name == b"content-length" and value.strip(b" \t0") != b"")


def within(bounds: Bounds, refuse: Refuse, quick: Quick | None = None) -> type[asyncio.Protocol]:
    """The connections of a server with these bounds."""
    what = {"bounds": bounds, "refuse": staticmethod(refuse), "quick": quick}
    return cast(type[asyncio.Protocol], type("Bounded", (Connection,), what))
