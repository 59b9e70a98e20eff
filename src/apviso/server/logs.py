"""How the server writes its log: lines for people on a terminal, JSON elsewhere; everything on standard error."""

from __future__ import annotations

import logging
import sys
from typing import Any

import structlog
from opentelemetry import trace
from structlog.typing import EventDict, Processor, WrappedLogger

from apviso.protocol.tokens import without_secrets

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


def configure(level: str, form: str = "auto") -> None:
    """Send our own events and those of the libraries through one formatter. Whose request it is comes from the context.

    `form` is json, text, or auto: text on a terminal.
    """
    is_text = sys.stderr.isatty() if form == "auto" else form == "text"
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        _with_trace,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=_ending(is_text)))
    root = logging.getLogger()
    root.handlers = [handler]
    # Libraries speak up from warnings on: SQLAlchemy and Alembic would tell every statement and step.
    root.setLevel(max(LEVELS[level], logging.WARNING))
    for ours in ("apviso", "uvicorn"):
        logging.getLogger(ours).setLevel(LEVELS[level])


def _with_trace(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    context = trace.get_current_span().get_span_context()
    if context.is_valid:
        event["trace_id"] = trace.format_trace_id(context.trace_id)
    return event


def _without_secrets(_: WrappedLogger, __: str, line: Any) -> str:
    """The last of all: whatever a client or a library has put a token into, it is not written."""
    return without_secrets(str(line))


def _ending(is_text: bool) -> list[Processor]:
    # Tracebacks without local variables: those hold tokens and requests.
    strip = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    if is_text:
        console = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback)
        return [strip, console, _without_secrets]
    traceback = structlog.processors.ExceptionRenderer(structlog.tracebacks.ExceptionDictTransformer(show_locals=False))
    return [strip, traceback, structlog.processors.JSONRenderer(), _without_secrets]
