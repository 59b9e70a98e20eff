"""From an HTTP answer to a wire model or a named refusal. Trusts nothing: a proxy's page with status 200 is not an answer."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from apviso.protocol.problems import Problem
from apviso.runner.refusals import CallFailed, EventsMissing, IdentityRejected, LeaseLost, Refused, SequenceGap, TryAgain

# Longer waits would look like a dead runner; the server can ask again.
MAX_RETRY_AFTER_SECONDS = 120.0

Answer = TypeVar("Answer", bound=BaseModel)


def read_answer(status: int, headers: Mapping[str, str], body: bytes, model: type[Answer], now: datetime) -> Answer:
    """The parsed answer; raises one of `refusals`. `headers` has lower-case names; `now` dates a Retry-After given as a time."""
    if 200 <= status < 300:
        try:
            return model.model_validate_json(body)
        except ValidationError as error:
            raise TryAgain(f"the answer ({status}) is not the control plane's: {_excerpt(body)}", status) from error
    raise _refusal(status, headers, body, now)


def _refusal(status: int, headers: Mapping[str, str], body: bytes, now: datetime) -> CallFailed:
    wait = retry_after(headers.get("retry-after"), now)
    try:
        problem = Problem.model_validate_json(body)
    except ValidationError:
        where = f", redirected to {headers['location'][:200]}" if 300 <= status < 400 and "location" in headers else ""
        return TryAgain(f"answer {status} without a problem description{where}: {_excerpt(body)}", status, wait)
    return _named(problem) or _by_status(problem, status, wait)


def _named(problem: Problem) -> Refused | None:
    match problem.code:
        case "lease_lost":
            return LeaseLost(problem)
        case "sequence_gap":
            expected = (problem.model_extra or {}).get("expectedSeq")
            return SequenceGap(problem, expected) if isinstance(expected, int) and expected >= 1 else Refused(problem)
        case "events_missing":
            return EventsMissing(problem)
        case _:
            return None


def _by_status(problem: Problem, status: int, wait: float | None) -> CallFailed:
    if status == 401:
        return IdentityRejected(problem)
    if status in {408, 425, 429} or status >= 500 or problem.retryable:
        return TryAgain(f"{problem.code}: {problem.error}", status, wait, problem.code)
    return Refused(problem)


def retry_after(header: str | None, now: datetime) -> float | None:
    """Seconds to wait by a Retry-After header (a number or a date), at most MAX_RETRY_AFTER_SECONDS; None without a usable one."""
    if header is None:
        return None
    text = header.strip()
    if re.fullmatch(r"\d{1,9}(\.\d+)?", text):
        return min(float(text), MAX_RETRY_AFTER_SECONDS)
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError):
        return None
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return min(max((aware - now).total_seconds(), 0.0), MAX_RETRY_AFTER_SECONDS)


def _excerpt(body: bytes) -> str:
    return repr(body[:120].decode("utf-8", errors="replace"))
