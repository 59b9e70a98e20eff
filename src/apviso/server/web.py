"""The layers around every request, as plain ASGI: from its id and its address to its repeats and entity tags; `app` has their order."""

from __future__ import annotations

import asyncio
import hashlib
import random
import re
import time
from collections.abc import Awaitable, Callable
from urllib.parse import parse_qsl

import structlog
import uuid_utils
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from apviso.protocol.problems import FieldProblem
from apviso.server import correlation
from apviso.server.access import SIGNED_IN
from apviso.server.db.engine import PAUSES, jittered
from apviso.server.errors import (
    BodyTooLarge,
    CredentialMissing,
    InternalError,
    InvalidFields,
    NoSuchRoute,
    Overloaded,
    Refusal,
    problem_response,
)
from apviso.server.metrics import DATABASE_RETRIES, REQUESTS, SECONDS
from apviso.server.settings import Settings

log = structlog.get_logger("apviso.http")
_SAFE_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_EVENTS_PATH = re.compile(r"/api/runner/jobs/[^/]+/events")
# Larger answers are streamed as they are: a tag would have to hold them in memory.
MAX_TAGGED_BYTES = 16 * 1024**2

SECURITY_HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "x-frame-options": "DENY",
    "cache-control": "no-store",
}


def is_request_id(text: str) -> bool:
    """Whether a client's own id may stand in our answers and logs."""
    return _SAFE_ID.fullmatch(text) is not None


# What a request counts as that nobody waited for: no fault of the server's. The number is a custom of proxies.
CLIENT_LEFT = 499


def request_id_of(offered: str) -> str:
    return offered if is_request_id(offered) else str(uuid_utils.uuid7())


class RequestContext:
    """Gives each request an id, logs it, counts it, and adds the headers that every answer carries."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id = request_id_of(Headers(scope=scope).get("x-request-id", ""))
        state = scope.setdefault("state", {})
        state["request_id"] = request_id
        began, status = time.perf_counter(), CLIENT_LEFT

        async def stamped(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["x-request-id"] = request_id
                for name, value in (SECURITY_HEADERS | state.get("rate_headers", {})).items():
                    headers.setdefault(name, value)
            await send(message)

        with correlation.request(request_id):
            try:
                await self.app(scope, receive, stamped)
            except Exception:
                status = 500
                raise
            finally:
                _count(scope, status, time.perf_counter() - began)


def _count(scope: Scope, status: int, seconds: float) -> None:
    state = scope["state"]
    method, route = scope["method"] if scope["method"] in _METHODS else "other", state.get("route", NO_ROUTE)
    REQUESTS.labels(method, route, status).inc()
    if not state.get("parked"):
        SECONDS.labels(method, route).observe(seconds)
    log.debug("request", method=scope["method"], path=scope["path"], status=status, ms=round(seconds * 1000, 1))


# For addresses that lead nowhere, and for what is refused before its route is looked for.
NO_ROUTE = "none"
_METHODS = frozenset({"GET", "POST", "PATCH", "PUT", "DELETE", "HEAD", "OPTIONS"})


class BodyLimit:
    """Refuses a body that is announced or turns out larger than allowed, before anything parses it."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.app = app
        self._settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        limit = self._settings.max_events_body_bytes if _EVENTS_PATH.fullmatch(scope["path"]) else self._settings.max_body_bytes
        announced = Headers(scope=scope).get("content-length", "0")
        if announced.isdigit() and int(announced) > limit:
            await _answer(BodyTooLarge(f"The request body is larger than {limit} bytes."), scope, receive, send)
            return
        body, whole = await _read_at_most(limit, receive)
        if body is None:
            await _answer(BodyTooLarge(f"The request body is larger than {limit} bytes."), scope, receive, send)
            return
        if not whole:
            return  # the client left while it was sending
        await self.app(scope, _replay(body, receive), send)


async def _read_at_most(limit: int, receive: Receive) -> tuple[bytes | None, bool]:
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return b"", False
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > limit:
            return None, True
        chunks.append(chunk)
        if not message.get("more_body"):
            return b"".join(chunks), True


def _replay(body: bytes, receive: Receive) -> Callable[[], Awaitable[Message]]:
    pending = True

    async def replayed() -> Message:
        nonlocal pending
        if pending:
            pending = False
            return {"type": "http.request", "body": body, "more_body": False}
        return await receive()

    return replayed


async def _answer(refusal: Refusal, scope: Scope, receive: Receive, send: Send) -> None:
    await problem_response(refusal, scope["state"]["request_id"])(scope, receive, send)


class Turnstile:
    """Lets so many requests at a time to the database, and turns others away at once, until there is room.

    Each takes several transactions in turn. In a longer queue everyone would wait for one of them until time is up, after work that
    was for nothing, and nobody would be served any more.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self._inside = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith(_GUARDED):
            await self.app(scope, receive, send)
            return
        if self._inside >= MOST_AT_ONCE:
            await _answer(Overloaded(retry_after=random.uniform(*TURNED_AWAY_SECONDS)), scope, receive, send)  # noqa: S311
            return
        is_inside = True
        self._inside += 1

        def step_out() -> None:
            nonlocal is_inside
            self._inside -= is_inside
            is_inside = False

        async def watched(message: Message) -> None:
            # Whoever takes its time to read the answer, or follows a stream, holds up nobody.
            step_out()
            await send(message)

        # For those who are held open: they have a bound of their own.
        scope["state"]["step_out"] = step_out
        try:
            await self.app(scope, receive, watched)
        finally:
            step_out()


# So many are served within a second or two; whoever waits for a connection gives up after ten.
MOST_AT_ONCE = 200
# Spreads those who come back over an interval of heartbeats: they are served one after the other, however often they ask.
TURNED_AWAY_SECONDS = (2.0, 15.0)


class AnotherTry:
    """Runs a request again whose transaction was surely rolled back: a deadlock, or a connection that died before the commit."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        first = await receive()
        if first["type"] == "http.disconnect":
            return
        body = first.get("body", b"")  # whole: the layer of the body's limit has read it
        for pause in PAUSES:
            attempt = _Attempt(scope, send)
            await self.app(dict(scope), _replay(body, receive), attempt)
            if not attempt.is_dropped:
                return
            await asyncio.sleep(jittered(pause))
            DATABASE_RETRIES.inc()
        await self.app(scope, _replay(body, receive), send)


class _Attempt:
    """Passes an answer on, except one after which the request may be repeated."""

    def __init__(self, scope: Scope, send: Send) -> None:
        self._state = scope["state"]
        self._state.pop("may_repeat", None)
        self._send = send
        self.is_dropped = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.is_dropped = bool(self._state.get("may_repeat"))
        if not self.is_dropped:
            await self._send(message)


class HeadAsGet:
    """Answers HEAD as GET without the body, at every address, as HTTP has it."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self.app(scope, receive, send)
            return

        async def without_body(message: Message) -> None:
            await send({**message, "body": b""} if message["type"] == "http.response.body" else message)

        scope.setdefault("state", {})["is_head"] = True
        await self.app({**scope, "method": "GET"}, receive, without_body)


class Readable:
    """Refuses an address with U+0000 in it: no identity and no filter has it, and PostgreSQL cannot even compare with it."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and "\x00" in scope["path"]:
            await _answer(NoSuchRoute(), scope, receive, send)
            return
        if scope["type"] == "http" and b"%00" in scope["query_string"]:
            named = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
            wrong = [name.replace("\x00", "")[:100] or "query" for name, value in named if "\x00" in name + value]
            problems = [FieldProblem(field=name, message="must not contain the character U+0000") for name in wrong]
            await _answer(InvalidFields(problems), scope, receive, send)
            return
        await self.app(scope, receive, send)


class Door:
    """Turns away who sends a body without any credential, before the body is read. Whether a credential is good is not decided here."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] in _WITH_BODY and scope["path"].startswith(_GUARDED) and scope["path"] != _OPEN:
            headers = Headers(scope=scope)
            if SIGNED_IN not in scope["state"] and not (headers.get("authorization", "").strip() or headers.get("x-api-key", "").strip()):
                await _answer(CredentialMissing(), scope, receive, send)
                return
        await self.app(scope, receive, send)


_WITH_BODY = frozenset({"POST", "PATCH"})
_GUARDED = ("/api/v1/", "/api/runner/")
# Its credential is the enrollment token in the body.
_OPEN = "/api/runner/register"


def known_tags(if_none_match: str) -> set[str]:
    """The entity tags of answers that the client has."""
    return {tag.strip().removeprefix("W/") for tag in if_none_match.split(",") if tag.strip()}


class EntityTags:
    """Gives every answer to a GET of the public API that is no stream its ETag, and answers 304 to a client that has it already."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "GET" or not scope["path"].startswith("/api/v1/"):
            await self.app(scope, receive, send)
            return
        await self.app(scope, receive, _Tagged(Headers(scope=scope).get("if-none-match", ""), send))


class _Tagged:
    """Holds an answer of known length back until it is whole, unless it brings its tag along; anything else passes through."""

    def __init__(self, known: str, send: Send) -> None:
        self._known = known_tags(known)
        self._send = send
        self._start: Message | None = None
        self._body = bytearray()
        self._is_known = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = Headers(raw=message["headers"])
            holds = message["status"] == 200 and not headers.get("content-type", "").startswith("text/event-stream")
            if holds and "etag" in headers:
                await self._tell(message, headers["etag"])
                return
            if holds and int(headers.get("content-length", MAX_TAGGED_BYTES + 1)) <= MAX_TAGGED_BYTES:
                self._start = message
                return
            await self._send(message)
            return
        if self._is_known:
            return
        if self._start is None:
            await self._send(message)
            return
        self._body += message.get("body", b"")
        if not message.get("more_body"):
            await self._finish(self._start)

    async def _finish(self, start: Message) -> None:
        await self._tell(start, f'"{hashlib.sha256(self._body).hexdigest()[:32]}"')
        if not self._is_known:
            await self._send({"type": "http.response.body", "body": bytes(self._body)})

    async def _tell(self, start: Message, tag: str) -> None:
        """The head of the answer; of one that the client has, the whole."""
        headers = MutableHeaders(raw=list(start["headers"]))
        headers["etag"] = tag
        headers["cache-control"] = "private, no-cache"
        self._is_known = tag in self._known or "*" in self._known
        if not self._is_known:
            await self._send({**start, "headers": headers.raw})
            return
        del headers["content-length"], headers["content-type"]
        await self._send({"type": "http.response.start", "status": 304, "headers": headers.raw})
        await self._send({"type": "http.response.body", "body": b""})


class Named:
    """Innermost: notes the template of the route that took the request for the layers around, which hold other copies of the scope."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self.app(scope, receive, send)
        finally:
            if scope["type"] == "http" and "route" in scope:
                scope["state"]["route"] = scope["route"].path


class LastResort:
    """Turns an exception that nothing answered into a 500 with a request id; the cause goes to the log, never to the client."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = False

        async def watched(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self.app(scope, receive, watched)
        except Exception:
            log.exception("request failed", method=scope["method"], path=scope["path"])
            if started:
                raise
            await _answer(InternalError(), scope, receive, send)
