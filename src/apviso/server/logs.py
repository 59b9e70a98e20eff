"""How the server writes its log: lines for people on a terminal, JSON elsewhere; everything on standard error."""

from __future__ import annotations

import logging
import sys
import textwrap
from io import StringIO
from typing import Any, TextIO

import structlog
from opentelemetry import trace
from structlog.typing import EventDict, ExcInfo, Processor, WrappedLogger

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


def _printable(text: str, keep: str = "") -> str:
    return "".join(sign if sign.isprintable() or sign in keep else sign.encode("unicode_escape").decode() for sign in text)


def _shown(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Words of others as a line can show them: a terminal takes control characters for commands, a reader a new line for another event."""
    return {name: _printable(value) if isinstance(value, str) else value for name, value in event.items()}


def _traceback(out: TextIO, exc_info: ExcInfo) -> None:
    written = StringIO()
    structlog.dev.plain_traceback(written, exc_info)
    # Indented, so that none of its lines looks like one of the log's own.
    out.write(textwrap.indent(_printable(written.getvalue(), keep="\n\t"), "  "))


def _ending(is_text: bool) -> list[Processor]:
    # Tracebacks without local variables: those hold tokens and requests.
    strip = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    if is_text:
        console = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=_traceback)
        return [strip, _shown, console, _without_secrets]
    traceback = structlog.processors.ExceptionRenderer(structlog.tracebacks.ExceptionDictTransformer(show_locals=False))
    return [strip, traceback, structlog.processors.JSONRenderer(), _without_secrets]
