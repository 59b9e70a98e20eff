"""Where the daemon's log lines go: standard error (JSON unless a person watches) and a bounded file. Known secrets never pass."""

from __future__ import annotations

import logging
import logging.handlers
import sys
from pathlib import Path

import structlog
from structlog.types import EventDict, Processor, WrappedLogger

from apviso.runner.redaction import Redactor

MAX_FILE_BYTES = 5 * 1024**2
KEPT_FILES = 3


def start_logging(log_file: Path, redactor: Redactor) -> None:
    """Set up the process's logging once. Libraries log through it from WARNING on."""

    def redact(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
        return {key: redactor.text(value) if isinstance(value, str) else value for key, value in event.items()}

    shared: list[Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.stdlib.ExtraAdder(),
    ]
    structlog.configure(
        processors=[*shared[:3], structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    watched = sys.stderr.isatty()
    file = logging.handlers.RotatingFileHandler(log_file, maxBytes=MAX_FILE_BYTES, backupCount=KEPT_FILES, encoding="utf-8", delay=True)
    _attach(logging.StreamHandler(sys.stderr), shared, redact, pretty=watched)
    _attach(file, shared, redact, pretty=False)
    logging.getLogger().setLevel(logging.WARNING)
    logging.getLogger("apviso").setLevel(logging.INFO)


def _attach(handler: logging.Handler, shared: list[Processor], redact: Processor, *, pretty: bool) -> None:
    # Traces become text before the redactor looks: an exception's words may hold what a call was given.
    last: list[Processor] = (
        [structlog.dev.ConsoleRenderer()] if pretty else [structlog.processors.format_exc_info, redact, structlog.processors.JSONRenderer()]
    )
    if pretty:
        last.insert(0, redact)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared, processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last]
        )
    )
    logging.getLogger().addHandler(handler)
