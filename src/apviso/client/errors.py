"""Everything that a call can raise: one class for each family, with what the control plane said of it."""

from __future__ import annotations

from typing import ClassVar

from pydantic import JsonValue

from apviso.protocol.problems import FieldProblem, Problem

_AWAY = frozenset({502, 503, 504})


class BadSettings(ValueError):
    """The client cannot be made so: address, key, authorities or proxy. The message quotes no secret."""


class ApvisoError(Exception):
    """Base of all. `code`, `status` and `request_id` are None where no answer of the control plane came."""

    # Whether the same call can succeed a little later.
    is_temporary: ClassVar[bool] = False

    def __init__(self, detail: str, *, status: int | None = None, problem: Problem | None = None, retry_after: float | None = None) -> None:
        super().__init__(f"{problem.code}: {problem.error}" if problem is not None else detail)
        self.detail = detail
        self.status = status
        self.problem = problem
        self.retry_after = retry_after

    @property
    def code(self) -> str | None:
        return None if self.problem is None else self.problem.code

    @property
    def request_id(self) -> str | None:
        return None if self.problem is None else self.problem.request_id

    @property
    def fields(self) -> list[FieldProblem]:
        """What is wrong with which field."""
        return (self.problem.errors if self.problem is not None else None) or []

    def member(self, name: str) -> JsonValue:
        """What this code alone tells, such as `readiness`; None where it does not."""
        return None if self.problem is None else (self.problem.model_extra or {}).get(name)


class Unreachable(ApvisoError):
    """No answer: name, route, TLS, time-out or a lost connection. Whether the call took effect is unknown."""

    is_temporary = True


class UnreadableAnswer(ApvisoError):
    """An answer that is not the control plane's: a proxy's page, or one that is too large."""

    is_temporary = True

    @property
    def is_away(self) -> bool:
        """What a proxy says in place of a control plane that it cannot reach."""
        return self.status in _AWAY


class Unavailable(ApvisoError):
    """The control plane cannot answer now (5xx)."""

    is_temporary = True


class RateLimited(ApvisoError):
    """Too many calls with this key (429)."""

    is_temporary = True


class NotYet(ApvisoError):
    """What was asked for is there when the scan has ended, or is tried again later (202)."""

    is_temporary = True


class BadCredential(ApvisoError):
    """The API key is unknown, has run out or was revoked (401)."""


class LicenseRefused(ApvisoError):
    """The license does not permit it (402)."""


class Forbidden(ApvisoError):
    """The key lacks a scope, or the target may not be scanned (403)."""


class NotFound(ApvisoError):
    """There is no such thing in the key's organization (404)."""


class Conflict(ApvisoError):
    """The state of things is against it (409)."""


class InvalidRequest(ApvisoError):
    """What was sent is wrong in itself (400, 413, 422); `fields` says where."""


class WaitedTooLong(ApvisoError):
    """What was waited for did not come in the time that the caller gave."""


_BY_STATUS: dict[int, type[ApvisoError]] = {
    401: BadCredential,
    402: LicenseRefused,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    429: RateLimited,
}


def error_for(status: int) -> type[ApvisoError]:
    """The family of a refusal."""
    return _BY_STATUS.get(status, Unavailable if status >= 500 else InvalidRequest)
