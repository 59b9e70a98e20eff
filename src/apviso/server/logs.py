"""How the server writes its log: lines for people on a terminal, JSON elsewhere; everything on standard error."""

from __future__ import annotations

import logging
import sys

import structlog
from structlog.typing import Processor

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


def configure(level: str) -> None:
    """Send our own events and those of the libraries through one formatter. Request ids come from the context."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
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
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=_ending(sys.stderr.isatty())))
    root = logging.getLogger()
    root.handlers = [handler]
    # Libraries speak up from warnings on: SQLAlchemy and Alembic would tell every statement and step.
    root.setLevel(max(LEVELS[level], logging.WARNING))
    for ours in ("apviso", "uvicorn"):
        logging.getLogger(ours).setLevel(LEVELS[level])


def _ending(is_terminal: bool) -> list[Processor]:
    # Tracebacks without local variables: those hold tokens and requests.
    strip = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    if is_terminal:
        return [strip, structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]
    traceback = structlog.processors.ExceptionRenderer(structlog.tracebacks.ExceptionDictTransformer(show_locals=False))
    return [strip, traceback, structlog.processors.JSONRenderer()]
