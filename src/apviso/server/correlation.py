"""Says whose request it is that is being answered: each log line written meanwhile carries that, and so does its span."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry import trace
from structlog.contextvars import bind_contextvars, bound_contextvars, get_contextvars, unbind_contextvars

_LEARNED_LATER = ("organization_id", "key_id", "runner_id", "job_id")


@contextmanager
def request(request_id: str) -> Iterator[None]:
    """While this request is answered. What `belongs_to` adds ends with it: the next one in this task may be somebody else's."""
    trace.get_current_span().set_attribute("apviso.request_id", request_id)
    # A page asks the API within its own request, and goes on as whose it was.
    before = {name: value for name, value in get_contextvars().items() if name in _LEARNED_LATER}
    with bound_contextvars(request_id=request_id):
        try:
            yield
        finally:
            unbind_contextvars(*_LEARNED_LATER)
            bind_contextvars(**before)


def belongs_to(*, organization_id: str, key_id: str | None = None, runner_id: str | None = None, job_id: str | None = None) -> None:
    """What authentication has found; call it for nothing that a client merely claims."""
    ids = {"organization_id": organization_id, "key_id": key_id, "runner_id": runner_id, "job_id": job_id}
    known = {name: value for name, value in ids.items() if value is not None}
    bind_contextvars(**known)
    trace.get_current_span().set_attributes({f"apviso.{name}": value for name, value in known.items()})
