"""Answers with lists of runners, and their readiness, that are ready to be sent, before the framework: same rules, same answers.

Everything else, and every doubt, goes the documented way."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable
from dataclasses import dataclass

import structlog
from starlette.types import ASGIApp, Receive, Scope, Send

from apviso.protocol import states
from apviso.server.access import SIGNED_IN, recognized
from apviso.server.at_once import first_of_each
from apviso.server.db.credentials import KnownKey
from apviso.server.errors import RateLimited
from apviso.server.metrics import FROM_MEMORY, REQUESTS, SECONDS
from apviso.server.readiness.listing import Answer, Wanted, WantedReadiness, ready_answer
from apviso.server.resources import Resources
from apviso.server.throttle import Allowance
from apviso.server.web import SECURITY_HEADERS, known_tags, request_id_of

log = structlog.get_logger("apviso.listlane")
# Where every other request is told, too.
requests = structlog.get_logger("apviso.http")
_told_each = logging.getLogger("apviso.http")
LIST_PATH = "/api/v1/runners"
READINESS_PATH = "/api/v1/runners/readiness"
# In this order; who asks in other words is answered all the same, by the framework.
_LIST_QUERY = re.compile(rb"(?:page=([1-9]\d{0,5})(?:&|\Z))?(?:limit=([1-9]\d?|100)(?:&|\Z))?(?:brief=(true|false)\Z)?")
_READINESS_QUERY = re.compile(rb"(?:brief=(true|false))?")
_CALLS = {LIST_PATH: FROM_MEMORY.labels("list"), READINESS_PATH: FROM_MEMORY.labels("readiness")}
_TOOK = {path: SECONDS.labels("GET", path) for path in _CALLS}
_FIXED_HEADERS = [(name.encode(), value.encode()) for name, value in SECURITY_HEADERS.items() if name != "cache-control"]
_FIXED_HEADERS.append((b"cache-control", b"private, no-cache"))


@dataclass(frozen=True)
class Found:
    known: KnownKey
    answer: Answer
    allowance: Allowance


class ListLane:
    """`app` is the application as it is documented, `resources` gives what it is made of."""

    def __init__(self, app: ASGIApp, resources: Callable[[], Resources]) -> None:
        self.app = app
        self._resources = resources

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] not in _CALLS or scope["method"] != "GET":
            await self.app(scope, receive, send)
            return
        began, headers = time.perf_counter(), first_of_each(scope["headers"])
        found = _unless_it_fails(self._resources(), scope, headers)
        if found is None:
            await self.app(scope, receive, send)
            return
        await _send(found, scope["path"], headers, began, send)


def _unless_it_fails(plant: Resources, scope: Scope, headers: dict[bytes, bytes]) -> Found | None:
    try:
        return _find(plant, scope, headers)
    except RateLimited:
        return None
    except Exception:
        log.exception("list lane failed")
        return None


def _find(plant: Resources, scope: Scope, headers: dict[bytes, bytes]) -> Found | None:
    """What can be answered without a wait; it is counted, and nothing else is changed."""
    wanted = _wanted(scope["path"], scope["query_string"])
    has_body = b"content-length" in headers or b"transfer-encoding" in headers
    if wanted is None or has_body or SIGNED_IN in scope.get("state", {}):
        return None
    key, authorization = (headers.get(name, b"").decode("latin-1") for name in (b"x-api-key", b"authorization"))
    known = recognized(plant, key, authorization, states.Scope.RUNNERS_READ)
    answer = None if known is None else ready_answer(plant, known.organization_id, wanted)
    if known is None or answer is None:
        return None
    return Found(known, answer, plant.key_throttle.take(known.id))


def _wanted(path: str, query: bytes) -> Wanted | WantedReadiness | None:
    if path == READINESS_PATH:
        asked = _READINESS_QUERY.fullmatch(query)
        return None if asked is None else WantedReadiness(is_brief=asked[1] == b"true")
    asked = _LIST_QUERY.fullmatch(query)
    if asked is None:
        return None
    page, limit = (None if number is None else int(number) for number in asked.group(1, 2))
    return Wanted(page=page, limit=limit, is_brief=asked[3] == b"true")


async def _send(found: Found, path: str, headers: dict[bytes, bytes], began: float, send: Send) -> None:
    body, tag = found.answer.body, found.answer.tag
    request_id = request_id_of(headers.get(b"x-request-id", b"").decode("latin-1"))
    known = known_tags(headers.get(b"if-none-match", b"").decode("latin-1"))
    told = [(b"etag", tag.encode()), *_FIXED_HEADERS, (b"x-request-id", request_id.encode())]
    told += [(name.encode(), value.encode()) for name, value in found.allowance.headers().items()]
    status = 304 if tag in known or "*" in known else 200
    if status == 200:
        told += [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": told})
    await send({"type": "http.response.body", "body": body if status == 200 else b""})
    seconds = time.perf_counter() - began
    _CALLS[path].inc()
    REQUESTS.labels("GET", path, status).inc()
    _TOOK[path].observe(seconds)
    if not _told_each.isEnabledFor(logging.DEBUG):
        return
    whose = found.known
    requests.debug(
        "request", request_id=request_id, organization_id=whose.organization_id, key_id=whose.id, method="GET", path=path, status=status,
        ms=round(seconds * 1000, 1),
    )  # fmt: skip
