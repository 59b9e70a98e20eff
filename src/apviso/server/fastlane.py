"""Answers heartbeats that say nothing new before the framework: the same model, the same rules, the same answer, and no transaction.

Everything else, and every doubt, goes the documented way with the body as it came."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import structlog
import uuid_utils
from pydantic import ValidationError
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from apviso.protocol.daemon import Heartbeat
from apviso.protocol.tokens import Namespace, parse_token
from apviso.protocol.wire import format_instant
from apviso.server.errors import RateLimited
from apviso.server.resources import Resources
from apviso.server.runners import store
from apviso.server.runners.beats import Remembered, next_facts
from apviso.server.runners.watch import policy_of
from apviso.server.web import REQUESTS, SECONDS, SECURITY_HEADERS, is_request_id

log = structlog.get_logger("apviso.fastlane")
# Where every other request is told, too.
requests = structlog.get_logger("apviso.http")
HEARTBEAT_PATH = "/api/runner/heartbeat"
_JSON = b"application/json"
# Heartbeats that one transaction writes: between two of them others are answered.
BEATS_AT_ONCE = 2_000
_ANSWERED, _TOOK = REQUESTS.labels("POST", 200), SECONDS.labels("POST")
_FIXED_HEADERS = [(b"content-type", _JSON), *((name.encode(), value.encode()) for name, value in SECURITY_HEADERS.items())]


class FastLane:
    """In front of everything else: `app` is the application as it is documented, `resources` gives what it is made of."""

    def __init__(self, app: ASGIApp, resources: Callable[[], Resources]) -> None:
        self.app = app
        self._resources = resources

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != HEARTBEAT_PATH or scope["method"] != "POST":
            await self.app(scope, receive, send)
            return
        plant = self._resources()
        headers = _headers(scope)
        known = _caller(plant, headers)
        if known is None or plant.signals.is_deaf or not _is_plain(plant, headers):
            await self.app(scope, receive, send)
            return
        began = time.perf_counter()
        messages = await _body(receive)
        answer = await self._answer(plant, known, messages)
        if answer is None:
            await self.app(scope, _replay(messages, receive), send)
            return
        body, rate_headers = answer
        request_id = _request_id(headers)
        told = [(b"content-length", str(len(body)).encode()), (b"x-request-id", request_id.encode())]
        await send({"type": "http.response.start", "status": 200, "headers": [*_FIXED_HEADERS, *told, *rate_headers]})
        await send({"type": "http.response.body", "body": body})
        seconds = time.perf_counter() - began
        _ANSWERED.inc()
        _TOOK.observe(seconds)
        requests.debug("request", request_id=request_id, method="POST", path=HEARTBEAT_PATH, status=200, ms=round(seconds * 1000, 1))

    async def _answer(
        self, plant: Resources, known: tuple[str, Remembered], messages: Sequence[Message]
    ) -> tuple[bytes, list[tuple[bytes, bytes]]] | None:
        """The answer from memory and the headers of the rate limit; None where the documented way must be taken."""
        prefix, remembered = known
        text = b"".join(message.get("body", b"") for message in messages)
        try:
            beat = Heartbeat.model_validate_json(text)
        except ValidationError:
            return None
        # Read again: while the body came, somebody may have made it be forgotten.
        if messages[-1]["type"] != "http.request" or plant.beats.find(prefix) is not remembered:
            return None
        now = plant.database.clock()
        after = next_facts(remembered, beat, now, policy_of(plant))
        if after is None:
            return None
        try:
            allowance = plant.daemon_throttle.take(after.id)
        except RateLimited:
            return None
        plant.beats.note(prefix, after.id, Remembered(after, remembered.digest, remembered.presence, remembered.answer_parts), after)
        if plant.settings.presence_flush_seconds == 0:
            await write_beats(plant)
        rate = [(name.encode(), value.encode()) for name, value in allowance.headers().items()]
        return remembered.answer(plant.pace.interval_ms, format_instant(now)), rate


def _headers(scope: Scope) -> dict[bytes, bytes]:
    """The first of each name, as the framework reads them."""
    found: dict[bytes, bytes] = {}
    for name, value in scope["headers"]:
        found.setdefault(name, value)
    return found


def _caller(plant: Resources, headers: dict[bytes, bytes]) -> tuple[str, Remembered] | None:
    scheme, _, text = headers.get(b"authorization", b"").partition(b" ")
    if scheme.lower() != b"bearer":
        return None
    token = parse_token(text.decode("latin-1"))
    if token is None or token.namespace is not Namespace.RUNNER:
        return None
    known: Remembered | None = plant.beats.find(token.prefix)
    return (token.prefix, known) if known is not None and token.matches(known.digest) else None


def _is_plain(plant: Resources, headers: dict[bytes, bytes]) -> bool:
    length = headers.get(b"content-length", b"")
    if not (length.isdigit() and len(length) < 12 and int(length) <= plant.settings.max_body_bytes):
        return False
    return headers.get(b"content-type", b"").partition(b";")[0].strip() == _JSON and b"transfer-encoding" not in headers


async def _body(receive: Receive) -> list[Message]:
    """All messages of the request; the server takes no more of it than its length has announced."""
    messages: list[Message] = []
    while True:
        message = await receive()
        messages.append(message)
        if message["type"] != "http.request" or not message.get("more_body"):
            return messages


def _replay(messages: Sequence[Message], receive: Receive) -> Receive:
    waiting = list(messages)

    async def replayed() -> Message:
        return waiting.pop(0) if waiting else await receive()

    return replayed


def _request_id(headers: dict[bytes, bytes]) -> str:
    offered = headers.get(b"x-request-id", b"").decode("latin-1")
    return offered if is_request_id(offered) else str(uuid_utils.uuid7())


async def write_beats(plant: Resources) -> None:
    """Write the heartbeats that were answered from memory, some at a time. What cannot be written now is kept."""
    taken = plant.beats.take_unwritten()
    waiting = sorted(taken)
    try:
        for start in range(0, len(waiting), BEATS_AT_ONCE):
            some = waiting[start : start + BEATS_AT_ONCE]
            async with plant.database.writing() as work:
                await store.record_beats(work, [taken[runner_id] for runner_id in some])
            for runner_id in some:
                del taken[runner_id]
    finally:
        if taken:
            plant.beats.give_back(taken)


@asynccontextmanager
async def writing_behind(plant: Resources) -> AsyncIterator[None]:
    """Write again and again while the application lives, and once more at its end."""

    async def loop() -> None:
        while not is_over.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(is_over.wait(), plant.settings.presence_flush_seconds or 1.0)
            try:
                await write_beats(plant)
            except Exception:  # a database that is away comes back, and the heartbeats are still here
                log.exception("heartbeats not written")

    is_over = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(loop(), name="write-behind")
        try:
            yield
        finally:
            # Which makes the loop write once more, and end.
            is_over.set()
