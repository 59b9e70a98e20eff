"""From an HTTP answer to a value or a named error. Trusts nothing: a proxy's page with status 200 is not an answer."""

from __future__ import annotations

import re
from typing import TypeVar

from pydantic import ValidationError

from apviso.client.calls import Answered, Call
from apviso.client.errors import ApvisoError, NotYet, UnreadableAnswer, error_for
from apviso.protocol.problems import Problem

T = TypeVar("T")
# The list of ten thousand runners has some megabytes; a report with every finding has fewer.
MAX_ANSWER_BYTES = 64 * 1024**2
_SECONDS = re.compile(r"\d{1,9}(?:\.\d+)?")


def read_answer(call: Call[T], answered: Answered) -> T:
    """The value of the answer. Raises the error that the answer stands for."""
    if answered.status == 202 and call.method == "GET":
        why = "this is not there yet: the scan has not ended, or what could not be made is tried again later"
        raise NotYet(why, status=202, retry_after=_retry_after(answered))
    if 200 <= answered.status < 300 or answered.status == 304:
        try:
            return call.read(answered)
        except ValidationError as error:
            raise UnreadableAnswer(f"the answer to {call.method} {call.path} is not the control plane's", status=answered.status) from error
    raise refusal(answered)


def refusal(answered: Answered) -> ApvisoError:
    """The error for an answer that is no success."""
    status, wait = answered.status, _retry_after(answered)
    try:
        problem = Problem.model_validate_json(answered.content)
    except ValidationError:
        where = " by a redirect, which is not followed" if 300 <= status < 400 else ""
        return UnreadableAnswer(f"answered {status}{where}, and not by the control plane", status=status, retry_after=wait)
    return error_for(status)(problem.detail, status=status, problem=problem, retry_after=wait)


def _retry_after(answered: Answered) -> float | None:
    text = answered.headers.get("retry-after", "").strip()
    return float(text) if _SECONDS.fullmatch(text) else None


class Collecting:
    """The parts of an answer's body, bounded in size and time. `moments` are of a clock that only moves on."""

    def __init__(self, call: Call[T], deadline: float) -> None:
        self._call = f"{call.method} {call.path}"
        self._deadline = deadline
        self._parts: list[bytes] = []
        self._size = 0

    def add(self, part: bytes, moment: float) -> None:
        self._size += len(part)
        if self._size > MAX_ANSWER_BYTES:
            raise UnreadableAnswer(f"the answer to {self._call} is longer than {MAX_ANSWER_BYTES} bytes")
        if moment > self._deadline:
            raise TimeoutError
        self._parts.append(part)

    def whole(self) -> bytes:
        return b"".join(self._parts)
