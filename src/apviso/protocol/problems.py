"""The one shape of a refusal (RFC 9457 problem+json), as clients read it."""

from __future__ import annotations

from pydantic import ConfigDict
from pydantic.alias_generators import to_camel

from apviso.protocol.wire import Wire


class FieldProblem(Wire):
    field: str
    message: str


class Problem(Wire):
    """Members beyond these belong to single codes (`expectedSeq`, `readiness`, ...)."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, frozen=True, extra="allow")

    type: str
    title: str
    status: int
    detail: str
    code: str
    error: str
    request_id: str
    retryable: bool
    errors: list[FieldProblem] | None = None
