"""Answers heartbeats that say nothing new, and claims that have to wait, before the framework: same models, same rules, same answers.

Everything else, and every doubt, goes the documented way with the body as it came."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import structlog
from pydantic import ValidationError
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from apviso.protocol.daemon import MAX_CLAIM_WAIT_SECONDS, Claim, ClaimAnswer
from apviso.protocol.tokens import Namespace, Token, parse_token
from apviso.server.access import DaemonCaller
from apviso.server.at_once import HEARTBEAT_PATH, JSON, AtOnce, Field, Head, answered, fields_of, first_of_each, is_plain, tell
from apviso.server.batching import Batched
from apviso.server.errors import DatabaseUnavailable, Refusal, problem_response
from apviso.server.metrics import FROM_MEMORY, REQUESTS, claim_answered
from apviso.server.resources import Resources
from apviso.server.runners import store
from apviso.server.runners.beats import Pulse, Remembered, is_in_touch, may_wait
from apviso.server.runners.recall import recall
from apviso.server.runners.watch import policy_of
from apviso.server.scans.claiming import Ticket, answer, stand_in_line
from apviso.server.waiting import Outcome

Result = TypeVar("Result")
log = structlog.get_logger("apviso.fastlane")
CLAIM_PATH = "/api/runner/jobs/claim"
# Runners that are read in one look.
MOST_AT_ONCE = 500
_WAIT = re.compile(rb"wait=(\d{1,3}(?:\.\d{1,6})?)")
# Heartbeats that one transaction writes: between two of them others are answered.
BEATS_AT_ONCE = 2_000
_PATHS = frozenset({HEARTBEAT_PATH, CLAIM_PATH})
_CLAIMS = FROM_MEMORY.labels("claim")


@dataclass(frozen=True)
class Call:
    """A claim of a runner that this process remembers."""

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
    fields: Sequence[Field]
    status: int = 200


class FastLane:
    """In front of everything else: `app` is the application as it is documented, `resources` gives what it is made of."""

    def __init__(self, app: ASGIApp, resources: Callable[[], Resources]) -> None:
        self.app = app
        self.at_once = AtOnce(resources)
        self._resources = resources
        self._recalled = Batched[str, Remembered](lambda prefixes: recall(resources(), prefixes), MOST_AT_ONCE)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] not in _PATHS or scope["method"] != "POST":
            await self.app(scope, receive, send)
            return
        plant, headers = self._resources(), first_of_each(scope["headers"])
        wait_seconds = _wait_seconds(scope)
        token = await _unless_it_fails(self._remembered(plant, headers))
        if token is None or wait_seconds is None or not is_plain(plant, headers):
            await self.app(scope, receive, send)
            return
        head = self.at_once.begin(scope["headers"])
        messages = await _body(receive)
        # While the body came, somebody may have made it be forgotten, and another call of the runner may have moved on what is known.
        known = self.at_once.still_known(head) if head is not None else None
        if messages[-1]["type"] == "http.request" and head is not None and known is not None:
            text, is_beat = b"".join(message.get("body", b"") for message in messages), scope["path"] == HEARTBEAT_PATH
            call = Call(plant, token, known, text, head.request_id, wait_seconds, _asking(scope, receive))
            found = await _unless_it_fails(self._beaten(plant, head, text) if is_beat else _claimed(call))
            if found is not None:
                await _send(found, send)
                (answered if is_beat else _claim_answered)(head, found.status)
                return
        await self.app(scope, _replay(messages, receive), send)

    async def _beaten(self, plant: Resources, head: Head, text: bytes) -> Answered | None:
        """The answer to a heartbeat that says nothing new."""
        found = self.at_once.beaten(head, text)
        if found is not None and plant.settings.presence_flush_seconds == 0:
            await write_beats(plant)
        return None if found is None else Answered(found.body, found.fields())

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
        allowance = fields_of(plant.daemon_throttle.take(facts.id), call.request_id)
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
        kept = [field for field in told.raw_headers if field[0] != b"content-length"]
        return Answered(bytes(told.body), [*kept, *allowance], told.status_code)
    finally:
        plant.parking.leave()
    told_so = given if isinstance(given, ClaimAnswer) else ticket.answer()
    claim_answered(told_so, loop.time() - deadline + call.wait_seconds)
    return Answered(told_so.model_dump_json(by_alias=True).encode(), [(b"content-type", JSON), *allowance])


async def _send(found: Answered, send: Send) -> None:
    fields = [*found.fields, (b"content-length", b"%d" % len(found.body))]
    await send({"type": "http.response.start", "status": found.status, "headers": fields})
    await send({"type": "http.response.body", "body": found.body})


def _claim_answered(head: Head, status: int) -> None:
    REQUESTS.labels("POST", CLAIM_PATH, status).inc()
    _CLAIMS.inc()
    tell(head, CLAIM_PATH, status)


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


def _token(headers: dict[bytes, bytes]) -> Token | None:
    scheme, _, text = headers.get(b"authorization", b"").partition(b" ")
    token = parse_token(text.decode("latin-1")) if scheme.lower() == b"bearer" else None
    return token if token is not None and token.namespace is Namespace.RUNNER else None


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
            rows = await _next_beats(waiting, 0)
            while written < len(waiting):
                async with plant.database.writing() as work:
                    await store.record_beats(work, rows)
                    # The next ones are put together while the database makes sure of these.
                    following = asyncio.create_task(_next_beats(waiting, written + BEATS_AT_ONCE))
                written += BEATS_AT_ONCE
                rows = await following
    finally:
        if written < len(waiting):
            plant.beats.give_back({one.id: one for one in waiting[written:]})


async def _next_beats(waiting: list[Pulse], start: int) -> store.Answered:
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
