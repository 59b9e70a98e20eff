"""Answers heartbeats that say nothing new, and claims that have to wait, before the framework: same models, same rules, same answers.

Everything else, and every doubt, goes the documented way with the body as it came."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import structlog
import uuid_utils
from pydantic import ValidationError
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from apviso.protocol.daemon import MAX_CLAIM_WAIT_SECONDS, Claim, ClaimAnswer, Heartbeat
from apviso.protocol.tokens import Namespace, Token, parse_token
from apviso.protocol.wire import format_instant
from apviso.server.access import DaemonCaller
from apviso.server.batching import Batched
from apviso.server.errors import DatabaseUnavailable, RateLimited, Refusal, problem_response
from apviso.server.metrics import FROM_MEMORY, REQUESTS, SECONDS, claim_answered
from apviso.server.resources import Resources
from apviso.server.runners import store
from apviso.server.runners.beats import Remembered, is_in_touch, may_wait, next_facts
from apviso.server.runners.facts import RunnerFacts
from apviso.server.runners.recall import recall
from apviso.server.runners.watch import policy_of
from apviso.server.scans.claiming import Ticket, answer, stand_in_line
from apviso.server.throttle import Allowance
from apviso.server.waiting import Outcome
from apviso.server.web import SECURITY_HEADERS, is_request_id

Result = TypeVar("Result")
log = structlog.get_logger("apviso.fastlane")
# Where every other request is told, too.
requests = structlog.get_logger("apviso.http")
# Asked first: ten thousand runners would have their lines put together to be thrown away.
_told_each = logging.getLogger("apviso.http")
HEARTBEAT_PATH = "/api/runner/heartbeat"
CLAIM_PATH = "/api/runner/jobs/claim"
# Runners that are read in one look.
MOST_AT_ONCE = 500
_WAIT = re.compile(rb"wait=(\d{1,3}(?:\.\d{1,6})?)")
_JSON = b"application/json"
# Heartbeats that one transaction writes: between two of them others are answered.
BEATS_AT_ONCE = 2_000
_CALLS = {HEARTBEAT_PATH: FROM_MEMORY.labels("heartbeat"), CLAIM_PATH: FROM_MEMORY.labels("claim")}
_ANSWERED = {path: REQUESTS.labels("POST", path, 200) for path in _CALLS}
_TOOK = SECONDS.labels("POST", HEARTBEAT_PATH)
_FIXED_HEADERS = [(name.encode(), value.encode()) for name, value in SECURITY_HEADERS.items()]


@dataclass(frozen=True)
class Call:
    """A call of a runner that this process remembers."""

    plant: Resources
    token: Token
    known: Remembered
    text: bytes
    request_id: str
    wait_seconds: float
    is_gone: Callable[[], Awaitable[bool]]


@dataclass(frozen=True)
class Answered:
    body: bytes
    allowance: Allowance
    status: int = 200
    headers: Sequence[tuple[bytes, bytes]] = ((b"content-type", _JSON),)


class FastLane:
    """In front of everything else: `app` is the application as it is documented, `resources` gives what it is made of."""

    def __init__(self, app: ASGIApp, resources: Callable[[], Resources]) -> None:
        self.app = app
        self._resources = resources
        self._recalled = Batched[str, Remembered](lambda prefixes: recall(resources(), prefixes), MOST_AT_ONCE)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] not in _CALLS or scope["method"] != "POST":
            await self.app(scope, receive, send)
            return
        began, plant, headers = time.perf_counter(), self._resources(), _headers(scope)
        wait_seconds = _wait_seconds(scope)
        token = await _unless_it_fails(self._remembered(plant, headers))
        if token is None or wait_seconds is None or not _is_plain(plant, headers):
            await self.app(scope, receive, send)
            return
        messages = await _body(receive)
        # While the body came, somebody may have made it be forgotten, and another call of the runner may have moved on what is known.
        known: Remembered | None = plant.beats.find(token.prefix)
        if messages[-1]["type"] == "http.request" and known is not None and token.matches(known.digest):
            text = b"".join(message.get("body", b"") for message in messages)
            call = Call(plant, token, known, text, _request_id(headers), wait_seconds, _asking(scope, receive))
            found = await _unless_it_fails(_beaten(call) if scope["path"] == HEARTBEAT_PATH else _claimed(call))
            if found is not None:
                await _send(call, scope["path"], found, began, send)
                return
        await self.app(scope, _replay(messages, receive), send)

    async def _remembered(self, plant: Resources, headers: dict[bytes, bytes]) -> Token | None:
        """The token of a runner that may be answered from memory."""
        token = _token(headers)
        if token is None or plant.signals.is_deaf:
            return None
        known: Remembered | None = plant.beats.find(token.prefix)
        if known is None or not is_in_touch(known, plant.database.clock(), policy_of(plant)):
            # Not known here, or another process has heard of it since.
            known = await self._recalled.find(token.prefix)
        return token if known is not None and token.matches(known.digest) else None


async def _unless_it_fails(deed: Awaitable[Result | None]) -> Result | None:
    """None where the documented way has to be taken, which may be tried again and says what is wrong."""
    try:
        return await deed
    except DatabaseUnavailable:
        return None
    except Exception:
        log.exception("fast lane failed")
        return None


async def _claimed(call: Call) -> Answered | None:
    """A job or none, for a claim that may have to wait."""
    plant, facts, loop = call.plant, call.known.facts, asyncio.get_running_loop()
    deadline = loop.time() + call.wait_seconds
    try:
        claim = Claim.model_validate_json(call.text)
        now = plant.database.clock()
        if not may_wait(call.known, claim.nonce, now, now + timedelta(seconds=call.wait_seconds), policy_of(plant)):
            return None
        allowance = plant.daemon_throttle.take(facts.id)
        plant.parking.enter()
    except (ValidationError, Refusal):
        return None
    try:
        caller = DaemonCaller(facts.id, facts.organization_id, facts.name, call.token, None, call.request_id)
        ticket = Ticket(caller, claim, facts, call.known.directives, call.is_gone)
        given = await stand_in_line(plant, ticket, deadline)
        if given is Outcome.LOOK_AGAIN:
            # Something about the runner has changed: what is remembered does not hold, its claim does.
            given = await answer(plant, caller, claim, max(0.0, deadline - loop.time()), call.is_gone)
    except Refusal as refusal:
        told = problem_response(refusal, call.request_id)
        return Answered(bytes(told.body), allowance, told.status_code, [one for one in told.raw_headers if one[0] != b"content-length"])
    finally:
        plant.parking.leave()
    told_so = given if isinstance(given, ClaimAnswer) else ticket.answer()
    claim_answered(told_so, loop.time() - deadline + call.wait_seconds)
    return Answered(told_so.model_dump_json(by_alias=True).encode(), allowance)


async def _beaten(call: Call) -> Answered | None:
    """The answer to a heartbeat that says nothing new."""
    plant, known = call.plant, call.known
    try:
        beat = Heartbeat.model_validate_json(call.text)
        now = plant.database.clock()
        after = next_facts(known, beat, now, policy_of(plant))
        if after is None:
            return None
        allowance = plant.daemon_throttle.take(after.id)
    except (ValidationError, RateLimited):
        return None
    plant.beats.note(call.token.prefix, after.id, known.moved_to(after), after)
    if plant.settings.presence_flush_seconds == 0:
        await write_beats(plant)
    return Answered(known.answer(plant.pace.interval_ms, format_instant(now)), allowance)


async def _send(call: Call, path: str, found: Answered, began: float, send: Send) -> None:
    told = [(b"content-length", str(len(found.body)).encode()), (b"x-request-id", call.request_id.encode())]
    rate = [(name.encode(), value.encode()) for name, value in found.allowance.headers().items()]
    headers = [*found.headers, *_FIXED_HEADERS, *told, *rate]
    await send({"type": "http.response.start", "status": found.status, "headers": headers})
    await send({"type": "http.response.body", "body": found.body})
    seconds = time.perf_counter() - began
    if found.status == 200:
        _ANSWERED[path].inc()
    else:
        REQUESTS.labels("POST", path, found.status).inc()
    _CALLS[path].inc()
    if path == HEARTBEAT_PATH:
        _TOOK.observe(seconds)
    if not _told_each.isEnabledFor(logging.DEBUG):
        return
    whose = call.known.facts
    requests.debug(
        "request", request_id=call.request_id, organization_id=whose.organization_id, runner_id=whose.id, method="POST", path=path,
        status=found.status, ms=round(seconds * 1000, 1),
    )  # fmt: skip


def _asking(scope: Scope, receive: Receive) -> Callable[[], Awaitable[bool]]:
    async def is_gone() -> bool:
        return await Request(scope, receive).is_disconnected()

    return is_gone


def _wait_seconds(scope: Scope) -> float | None:
    """What the query says; None where it says anything else."""
    query: bytes = scope["query_string"]
    if not query:
        return 0.0
    found = _WAIT.fullmatch(query)
    seconds = float(found[1]) if found else None
    return seconds if seconds is not None and seconds <= MAX_CLAIM_WAIT_SECONDS else None


def _headers(scope: Scope) -> dict[bytes, bytes]:
    """The first of each name, as the framework reads them."""
    found: dict[bytes, bytes] = {}
    for name, value in scope["headers"]:
        found.setdefault(name, value)
    return found


def _token(headers: dict[bytes, bytes]) -> Token | None:
    scheme, _, text = headers.get(b"authorization", b"").partition(b" ")
    token = parse_token(text.decode("latin-1")) if scheme.lower() == b"bearer" else None
    return token if token is not None and token.namespace is Namespace.RUNNER else None


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
    if not taken:
        plant.flushes.none_left()
        return
    waiting = list(taken.values())
    written = 0
    try:
        async with plant.flushes.measured(len(waiting)):
            answered = await _next_beats(waiting, 0)
            while written < len(waiting):
                async with plant.database.writing() as work:
                    await store.record_beats(work, answered)
                    # The next ones are put together while the database makes sure of these.
                    following = asyncio.create_task(_next_beats(waiting, written + BEATS_AT_ONCE))
                written += BEATS_AT_ONCE
                answered = await following
    finally:
        if written < len(waiting):
            plant.beats.give_back({one.id: one for one in waiting[written:]})


async def _next_beats(waiting: list[RunnerFacts], start: int) -> store.Answered:
    return store.answered(waiting[start : start + BEATS_AT_ONCE])


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
