"""Calls as data: what is sent, how the answer is read, whether it may be sent again. Nothing here does I/O."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Generic, TypeVar
from urllib.parse import quote
from uuid import uuid4

from pydantic import BaseModel
from pydantic.alias_generators import to_camel

from apviso.protocol.wire import Wire, format_instant

T = TypeVar("T")
U = TypeVar("U")
M = TypeVar("M", bound=BaseModel)
CALL_SECONDS = 30.0
# Beyond the wait that the server promises: a slow proxy is not yet a dead one.
WAIT_MARGIN_SECONDS = 15.0
JSON, EVENTS = "application/json", "text/event-stream"


@dataclass(frozen=True)
class Answered:
    """An answer that came whole. Names of headers are in lower case."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    content: bytes = field(repr=False)


@dataclass(frozen=True)
class Call(Generic[T]):
    """`read` makes a value of a successful answer; `may_repeat` says that sending it twice does no more than sending it once.

    `is_patient`: it is one of many in a long wait, and is sent again for longer than others."""

    method: str
    path: str
    read: Callable[[Answered], T] = field(repr=False)
    query: tuple[tuple[str, str], ...] = ()
    body: bytes | None = field(default=None, repr=False)
    headers: tuple[tuple[str, str], ...] = ()
    may_repeat: bool = False
    seconds: float = CALL_SECONDS
    is_patient: bool = False

    def then(self, pick: Callable[[T], U]) -> Call[U]:
        """The same call for a part of its answer."""
        return Call(
            self.method,
            self.path,
            lambda answered: pick(self.read(answered)),
            self.query,
            self.body,
            self.headers,
            self.may_repeat,
            self.seconds,
            self.is_patient,
        )


@dataclass(frozen=True)
class Seen(Generic[T]):
    """A read with its entity tag; `value` is None where nothing has changed since the tag that was sent."""

    value: T | None
    tag: str | None


def parsed(model: type[M]) -> Callable[[Answered], M]:
    return lambda answered: model.model_validate_json(answered.content)


def nothing(answered: Answered) -> None:
    """An answer without a body."""


def segment(text: str) -> str:
    """An identity as one part of a path."""
    if text in {"", ".", ".."}:
        raise ValueError("an identity cannot be empty")
    return quote(text, safe="")


def _words(value: object) -> str:
    match value:
        case bool():
            return str(value).lower()
        case datetime():
            return format_instant(value)
        case _:
            return str(value)


def query_of(values: Mapping[str, object]) -> tuple[tuple[str, str], ...]:
    """Names as they are written outside; what is None is left out, and each of several values stands for itself."""
    return tuple((to_camel(name), _words(one)) for name, value in values.items() for one in _each(value))


def _each(value: object) -> Iterable[object]:
    if value is None:
        return ()
    return value if isinstance(value, list | tuple | frozenset) else (value,)


def get(path: str, model: type[M], **query: object) -> Call[M]:
    return Call("GET", path, parsed(model), query_of(query), may_repeat=True)


def look(path: str, model: type[M], *, tag: str | None, wait: float | None, is_patient: bool = False) -> Call[Seen[M]]:
    """A read that the server may hold open for `wait` seconds, until it differs from what `tag` names."""

    def read(answered: Answered) -> Seen[M]:
        value = None if answered.status == 304 else parsed(model)(answered)
        return Seen(value, answered.headers.get("etag"))

    headers = () if tag is None else (("if-none-match", tag),)
    seconds = CALL_SECONDS if wait is None else wait + WAIT_MARGIN_SECONDS
    query = query_of({"wait": wait})
    return Call("GET", path, read, query, headers=headers, may_repeat=True, seconds=seconds, is_patient=is_patient)


def download(path: str, accept: str, **query: object) -> Call[bytes]:
    headers = (("accept", accept),)
    return Call("GET", path, lambda answered: answered.content, query_of(query), headers=headers, may_repeat=True, seconds=120.0)


def create(path: str, body: Wire | None, model: type[M]) -> Call[M]:
    """A create under a key of its own, so that sending it again after a lost answer makes nothing twice."""
    return Call("POST", path, parsed(model), (), _json(body), (("idempotency-key", uuid4().hex),), may_repeat=True)


def act(path: str, body: Wire | None, model: type[M], *, may_repeat: bool = False) -> Call[M]:
    return Call("POST", path, parsed(model), (), _json(body), may_repeat=may_repeat)


def change(path: str, body: Wire, model: type[M]) -> Call[M]:
    return Call("PATCH", path, parsed(model), (), _json(body))


def remove(path: str) -> Call[None]:
    return Call("DELETE", path, nothing, may_repeat=True)


def _json(body: Wire | None) -> bytes | None:
    # What nobody has set is the server's to decide; a null that was set says something.
    return None if body is None else body.model_dump_json(by_alias=True, exclude_unset=True).encode()
