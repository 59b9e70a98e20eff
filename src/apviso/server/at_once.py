"""Answers a heartbeat that says nothing new in one go, without waiting for anything: from what is remembered, into bytes of HTTP.

Of every other call, and in every doubt, it says nothing and has changed nothing."""

from __future__ import annotations

import hashlib
import hmac
import logging
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import structlog
import uuid_utils
from pydantic import ValidationError

from apviso.protocol.wire import format_instant
from apviso.server.errors import RateLimited
from apviso.server.metrics import BEATEN, FROM_MEMORY, REQUESTS, SECONDS
from apviso.server.resources import Resources
from apviso.server.runners.beats import Remembered, after_beat
from apviso.server.runners.presence import PresencePolicy
from apviso.server.runners.watch import policy_of
from apviso.server.throttle import Allowance
from apviso.server.web import SECURITY_HEADERS, is_request_id

log = structlog.get_logger("apviso.fastlane")
# Where every other request is told, too.
requests = structlog.get_logger("apviso.http")
# Asked first: ten thousand runners would have their lines put together to be thrown away.
_told_each = logging.getLogger("apviso.http")
Field = tuple[bytes, bytes]
HEARTBEAT_PATH = "/api/runner/heartbeat"
JSON = b"application/json"
BEATEN.counters = (FROM_MEMORY.labels("heartbeat"), REQUESTS.labels("POST", HEARTBEAT_PATH, 200))
_TOOK = SECONDS.labels("POST", HEARTBEAT_PATH)
# How every token of a runner is written that this process issued: its prefix, and its secret.
_SCHEME, _NAMESPACE, _PREFIX, _BETWEEN, _SECRET = slice(7), slice(7, 12), slice(12, 24), slice(24, 25), slice(25, None)


class Head(NamedTuple):
    """The head of a heartbeat whose token is that of a runner that this process remembers."""

    plant: Resources
    prefix: str
    secret: bytes
    known: Remembered
    request_id: str
    began: float


class Beaten(NamedTuple):
    """The answer to a heartbeat: its body, and what its head tells besides."""

    body: bytes
    allowance: Allowance
    request_id: str

    def fields(self) -> list[Field]:
        return [(b"content-type", JSON), *fields_of(self.allowance, self.request_id)]

    def written(self) -> bytes:
        """The same fields as they are sent, and the body."""
        return _WRITTEN % (self.request_id.encode(), *self.allowance, len(self.body), self.body)


def fields_of(allowance: Allowance, request_id: str) -> list[Field]:
    """What every answer to a runner carries."""
    rate = [(name.encode(), value.encode()) for name, value in allowance.headers().items()]
    return [*_FIXED, (b"x-request-id", request_id.encode()), *rate]


_FIXED: list[Field] = [(name.encode(), value.encode()) for name, value in SECURITY_HEADERS.items()]
_WRITTEN = b"".join((
    *(b"%b: %b\r\n" % field for field in [(b"content-type", JSON), *_FIXED]),
    b"x-request-id: %b\r\nx-ratelimit-limit: %d\r\nx-ratelimit-remaining: %d\r\nx-ratelimit-reset: %d\r\n",
    b"content-length: %d\r\n\r\n%b",
))  # fmt: skip


class AtOnce:
    """`resources` gives what the application is made of. Nothing is raised: who gets no answer goes the way that says what is wrong."""

    path = HEARTBEAT_PATH.encode()

    def __init__(self, resources: Callable[[], Resources]) -> None:
        self._resources = resources
        self._policy: tuple[Resources, PresencePolicy] | None = None
        self._second, self._next, self._in_words = datetime.min.replace(tzinfo=UTC), datetime.min.replace(tzinfo=UTC), ""

    def begin(self, fields: Sequence[Field]) -> Head | None:
        """Judge the head of a call; None where its body is not to be waited for here."""
        try:
            return self._head(self._resources(), first_of_each(fields))
        except Exception:
            log.exception("call was not judged at once")
            return None

    def end(self, head: Head, text: bytes) -> bytes | None:
        """The answer, written but for its status; None where it cannot be given here."""
        try:
            found = self.beaten(head, text)
            if found is None:
                return None
            answered(head)
            return found.written()
        except Exception:
            log.exception("heartbeat was not answered at once")
            return None

    def _head(self, plant: Resources, headers: dict[bytes, bytes]) -> Head | None:
        credential = headers.get(b"authorization", b"")
        if credential[_SCHEME].lower() != b"bearer " or credential[_NAMESPACE] != b"apvr_" or credential[_BETWEEN] != b"_":
            return None
        if plant.signals.is_deaf or not is_plain(plant, headers):
            return None
        prefix, secret = credential[_PREFIX].decode("latin-1"), credential[_SECRET]
        known: Remembered | None = plant.beats.find(prefix)
        if known is None or not _matches(secret, known):
            return None
        return Head(plant, prefix, secret, known, request_id_of(headers), time.perf_counter())

    def still_known(self, head: Head) -> Remembered | None:
        """What is known of its runner now: while the body came, it may have been forgotten, or another call have moved it on."""
        known: Remembered | None = head.plant.beats.find(head.prefix)
        return known if known is head.known or (known is not None and _matches(head.secret, known)) else None

    def beaten(self, head: Head, text: bytes) -> Beaten | None:
        """The answer to a heartbeat that says nothing new."""
        plant, known = head.plant, self.still_known(head)
        if known is None:
            return None
        now = plant.database.clock()
        try:
            after = after_beat(known, text, now, self._policy_of(plant))
            if after is None:
                return None
            allowance = plant.daemon_throttle.take(after.pulse.id)
        except (ValidationError, RateLimited):
            return None
        plant.beats.note(head.prefix, after.pulse.id, after, after.pulse)
        return Beaten(after.answer(plant.pace.interval_ms, self._written(now)), allowance, head.request_id)

    def _policy_of(self, plant: Resources) -> PresencePolicy:
        """What runners are judged by, made anew only when some of it has changed."""
        held = self._policy
        if held is not None and held[0] is plant and held[1].timers is plant.pace.timers and held[1].amnesty_until == plant.amnesty_until:
            return held[1]
        made = policy_of(plant)
        self._policy = (plant, made)
        return made

    def _written(self, now: datetime) -> str:
        if not self._second <= now < self._next:
            self._second = now.replace(microsecond=0)
            self._next = self._second + timedelta(seconds=1)
            self._in_words = format_instant(now)
        return self._in_words


def answered(head: Head, status: int = 200) -> None:
    BEATEN.number += 1
    _TOOK.observe(time.perf_counter() - head.began)
    tell(head, HEARTBEAT_PATH, status)


def tell(head: Head, path: str, status: int) -> None:
    """A line in the log, where each request has one."""
    if not _told_each.isEnabledFor(logging.DEBUG):
        return
    whose, ms = head.known.pulse, round((time.perf_counter() - head.began) * 1000, 1)
    requests.debug(
        "request", request_id=head.request_id, organization_id=whose.organization_id, runner_id=whose.id, method="POST", path=path,
        status=status, ms=ms,
    )  # fmt: skip


def first_of_each(fields: Sequence[Field]) -> dict[bytes, bytes]:
    """The first of each name, as the framework reads them."""
    return dict(fields[::-1])


def is_plain(plant: Resources, headers: dict[bytes, bytes]) -> bool:
    """Whether the body is JSON and as long as it may be, and is sent in one piece."""
    length = headers.get(b"content-length", b"")
    if not (length.isdigit() and len(length) < 12 and int(length) <= plant.settings.max_body_bytes):
        return False
    kind = headers.get(b"content-type", b"")
    return (kind == JSON or kind.partition(b";")[0].strip() == JSON) and b"transfer-encoding" not in headers


def request_id_of(headers: dict[bytes, bytes]) -> str:
    offered = headers.get(b"x-request-id")
    if offered is not None and is_request_id(text := offered.decode("latin-1")):
        return text
    return str(uuid_utils.uuid7())


def _matches(secret: bytes, known: Remembered) -> bool:
    """In constant time, as `Token.matches` compares."""
    return hmac.compare_digest(hashlib.sha256(secret).hexdigest(), known.digest)
