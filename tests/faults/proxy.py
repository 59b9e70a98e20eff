"""The faulty wire between a runner and the control plane: a reverse proxy with TLS that understands HTTP just well enough to harm it."""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
import ssl
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum

from tests.faults.background import Background
from tests.faults.issuer import Issuer

SECONDS = 60
_HTML = b"<html><body>Please accept the terms of use of this network.</body></html>"
_HEADER_LIMIT = 64 * 1024
_TOKEN = re.compile(rb"apv[a-z]_[0-9a-f]{12}_([A-Za-z0-9_-]{20,})")
_AUTHORIZATION = re.compile(rb"\r\nauthorization: bearer (\S+)", re.IGNORECASE)
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding: *chunked", re.IGNORECASE)


class Trouble(StrEnum):
    """What the wire does to an exchange."""

    NONE = "none"
    DELAY = "delay"
    # The answer breaks off in the middle with a reset.
    CUT = "cut"
    # One side says that it has finished speaking, too early.
    HALF_CLOSE = "half_close"
    # The control plane hears the request twice, at the same time.
    DUPLICATE = "duplicate"
    # The control plane has committed and answered; nobody hears it.
    LOSE_ANSWER = "lose_answer"
    # Everything that is said is swallowed; the connection stays open.
    BLACK_HOLE = "black_hole"
    # As proxies that come between answer.
    HTML_PAGE = "html_page"
    PROXY_LOGIN = "proxy_login"
    FOREIGN_TLS = "foreign_tls"


INTERCEPTED = {
    Trouble.HTML_PAGE: b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: %d\r\n\r\n" % len(_HTML) + _HTML,
    Trouble.PROXY_LOGIN: b"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n",
}


@dataclass(frozen=True)
class Exchange:
    """One request that came in. `status` is what the control plane answered, None where it was not asked or gave no answer."""

    at: float
    path: str
    token: bytes
    status: int | None
    trouble: Trouble


class _Gone(Exception):
    """One of both sides has left, or is to be made to."""


_ENDS = (_Gone, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError)


@dataclass(eq=False)
class _Peer:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def cut(self) -> None:
        self.writer.transport.abort()

    def finish_speaking(self) -> None:
        """Half-close below TLS, as a box in the middle would."""
        with contextlib.suppress(OSError):
            self.writer.get_extra_info("socket").shutdown(1)


class Wire:
    """`url` is what the runner is told. `secrets` are the secret parts of all tokens that came by."""

    def __init__(self, background: Background, upstream_ports: Sequence[int], own: Issuer, foreign: Issuer, seed: str) -> None:
        self.exchanges: list[Exchange] = []
        self.secrets: set[bytes] = set()
        self._background = background
        self._upstream_ports = upstream_ports
        self._own, self._foreign = own, foreign
        self._random = random.Random(seed)
        self._trouble, self._share = Trouble.NONE, 0.0
        self._mended = asyncio.Event()
        self._open: set[_Peer] = set()
        self._conversations: set[asyncio.Task[None]] = set()
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._tls.load_cert_chain(own.chain)
        self._server = background.run(asyncio.start_server(self._converse, "127.0.0.1", 0, ssl=self._tls, limit=_HEADER_LIMIT))
        self.port = int(self._server.sockets[0].getsockname()[1])

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    @contextmanager
    def troubled(self, trouble: Trouble, share: float = 1.0) -> Iterator[None]:
        """While the body runs, this happens to so many of the exchanges; also to those that are under way."""
        self._background.run(self._turn(trouble, share))
        try:
            yield
        finally:
            self._background.run(self._turn(Trouble.NONE, 0.0))

    def close(self) -> None:
        self._background.run(self._turn(Trouble.NONE, 0.0, is_last=True))

    async def _turn(self, trouble: Trouble, share: float, *, is_last: bool = False) -> None:
        self._trouble, self._share = trouble, share
        self._tls.load_cert_chain((self._foreign if trouble is Trouble.FOREIGN_TLS else self._own).chain)
        self._mended.set()
        self._mended = asyncio.Event()
        # Whoever has a connection would not notice the other certificate, nor a long poll that its answer will not come.
        if trouble in (Trouble.FOREIGN_TLS, Trouble.CUT, Trouble.HALF_CLOSE) or is_last:
            for peer in list(self._open):
                peer.cut()
        if is_last:
            self._server.close()
            for task in list(self._conversations):
                task.cancel()

    def _next_trouble(self) -> Trouble:
        return self._trouble if self._random.random() < self._share else Trouble.NONE

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        near, me = _Peer(reader, writer), asyncio.current_task()
        assert me is not None
        self._open.add(near)
        self._conversations.add(me)
        try:
            while True:
                await self._exchange(near, await _message(reader))
        except _ENDS:
            pass
        except asyncio.CancelledError:
            # The wire was closed; the stream's own callback would take a cancelled task for a failure.
            pass
        finally:
            self._open.discard(near)
            self._conversations.discard(me)
            near.cut()

    async def _exchange(self, near: _Peer, request: bytes) -> None:
        """One request and what becomes of it. Raises one of _ENDS where the connection is of no use any more."""
        at, trouble, answer = time.monotonic(), self._next_trouble(), None
        try:
            async with asyncio.timeout(SECONDS):
                answer = INTERCEPTED.get(trouble) or await self._asked(near, request, trouble)
        finally:
            self._note(at, request, None if trouble in INTERCEPTED else answer, trouble)
        await self._deliver(near, answer, trouble)

    async def _asked(self, near: _Peer, request: bytes, trouble: Trouble) -> bytes:
        """What the control plane answers."""
        if trouble is Trouble.BLACK_HOLE:
            await self._swallow()
        if trouble is Trouble.DELAY:
            await asyncio.sleep(self._random.uniform(0.2, 3.0))
        if trouble is Trouble.DUPLICATE:
            return (await asyncio.gather(self._ask(near, request), self._ask(near, request)))[0]
        is_cut_short = trouble is Trouble.HALF_CLOSE and self._random.random() < 0.5
        answer = await self._ask(near, request, is_cut_short=is_cut_short)
        if self._trouble is Trouble.BLACK_HOLE:
            # It began while the answer was awaited.
            await self._swallow()
        return answer

    async def _ask(self, near: _Peer, request: bytes, *, is_cut_short: bool = False) -> bytes:
        far = await self._far()
        try:
            far.writer.write(request)
            if is_cut_short:
                far.writer.write_eof()
            answering, leaving = asyncio.create_task(_message(far.reader)), asyncio.create_task(_left(near.reader))
            try:
                await asyncio.wait({answering, leaving}, return_when=asyncio.FIRST_COMPLETED)
                if not answering.done():
                    raise _Gone
                return answering.result()
            finally:
                for task in (answering, leaving):
                    task.cancel()
                await asyncio.gather(answering, leaving, return_exceptions=True)
        finally:
            far.cut()

    async def _far(self) -> _Peer:
        """Any of the servers that accepts connections; what stands still does."""
        ports = self._random.sample(self._upstream_ports, len(self._upstream_ports))
        for port in ports[:-1]:
            with contextlib.suppress(ConnectionRefusedError):
                return _Peer(*await asyncio.open_connection("127.0.0.1", port, limit=_HEADER_LIMIT))
        return _Peer(*await asyncio.open_connection("127.0.0.1", ports[-1], limit=_HEADER_LIMIT))

    async def _deliver(self, near: _Peer, answer: bytes, trouble: Trouble) -> None:
        if trouble is Trouble.LOSE_ANSWER:
            raise _Gone
        is_torn = trouble in (Trouble.CUT, Trouble.HALF_CLOSE)
        near.writer.write(answer[: len(answer) // 2] if is_torn else answer)
        await near.writer.drain()
        if trouble is Trouble.HALF_CLOSE:
            near.finish_speaking()
            async with asyncio.timeout(5):
                await _left(near.reader)
        if is_torn:
            raise _Gone

    async def _swallow(self) -> None:
        await self._mended.wait()
        raise _Gone

    def _note(self, at: float, request: bytes, answer: bytes | None, trouble: Trouble) -> None:
        head = request.partition(b"\r\n\r\n")[0]
        token = _AUTHORIZATION.search(head)
        status = int(answer.split(maxsplit=2)[1]) if answer else None
        self.secrets.update(_TOKEN.findall(head), _TOKEN.findall(answer or b""))
        path = head.split(maxsplit=2)[1].decode("latin-1")
        self.exchanges.append(Exchange(at, path, token[1] if token else b"", status, trouble))


async def _message(reader: asyncio.StreamReader) -> bytes:
    """One request or answer whole, head and body."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = _LENGTH.search(head)
    if length is not None:
        return head + await reader.readexactly(int(length[1]))
    if _CHUNKED.search(head) is None:
        return head
    parts = [head]
    while True:
        size = await reader.readuntil(b"\r\n")
        chunk = await reader.readexactly(int(size.split(b";")[0], 16) + 2)
        parts += [size, chunk]
        if len(chunk) == 2:
            return b"".join(parts)


async def _left(reader: asyncio.StreamReader) -> None:
    """Until whoever is at the other end has left; it says nothing meanwhile."""
    while not reader.at_eof() and reader.exception() is None:  # noqa: ASYNC110  # a stream signals nobody
        await asyncio.sleep(0.05)
