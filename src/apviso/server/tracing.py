"""Traces by OpenTelemetry, where a collector is named and the extra `otel` is installed; otherwise nothing of it is loaded."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from typing import TYPE_CHECKING, Any

import structlog
from fastapi.telemetry import TelemetryConfig
from opentelemetry import trace
from opentelemetry.trace import SpanKind, StatusCode
from sqlalchemy import Connection, Engine, ExceptionContext, event

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

log = structlog.get_logger("apviso.tracing")
_COLLECTOR = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
# Held open for most of the time, or asked for every few seconds: there is nothing to see in them.
_NOT_TRACED = frozenset({"/api/runner/jobs/claim", "/api/v1/events", "/healthz", "/readyz", "/metrics"})
LAST_SPANS_SECONDS = 5.0
MAX_STATEMENT = 2_000
_OPEN = "apviso.span"


def tracer_provider() -> TracerProvider | None:
    """As the environment has it; the variables are OpenTelemetry's own."""
    is_off = os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true" or os.environ.get("OTEL_TRACES_EXPORTER") == "none"
    if is_off or not any(os.environ.get(name) for name in _COLLECTOR):
        return None
    try:
        from apviso.server.spans import exporting_provider
    except ImportError as error:
        log.warning("no traces are sent", reason=f"{error.name} is not installed", fix="install the extra: pip install 'apviso[otel]'")
        return None
    return exporting_provider()


def telemetry(provider: TracerProvider | None) -> TelemetryConfig:
    """The framework makes the spans of requests, and nothing else: its logs and metrics would hold what clients sent."""
    config: TelemetryConfig = {"auto_configure": False, "metrics": False, "logs": False, "operation_spans": False}
    if provider is None:
        return {**config, "tracing": False}
    return {**config, "tracing": True, "tracer_provider": provider, "exclude": _is_left_out}


def _is_left_out(scope: Any) -> bool:
    return scope["type"] != "http" or scope["path"] in _NOT_TRACED


def trace_statements(engine: Engine, provider: TracerProvider) -> None:
    """A span for each statement of a request that is traced. Values are bound, so its text is the product's own."""
    tracer = provider.get_tracer("apviso.database")
    told = {"db.system.name": engine.dialect.name}

    @event.listens_for(engine, "before_cursor_execute")
    def begin(connection: Connection, _: object, statement: str, *__: object) -> None:
        if trace.get_current_span().is_recording():
            words = {**told, "db.query.text": statement[:MAX_STATEMENT]}
            name = statement.lstrip().partition(" ")[0].strip().upper()
            connection.info[_OPEN] = tracer.start_span(name, kind=SpanKind.CLIENT, attributes=words)

    @event.listens_for(engine, "after_cursor_execute")
    def end(connection: Connection, *_: object) -> None:
        span = connection.info.pop(_OPEN, None)
        if span is not None:
            span.end()

    @event.listens_for(engine, "handle_error")
    def fail(context: ExceptionContext) -> None:
        span = context.connection.info.pop(_OPEN, None) if context.connection is not None else None
        if span is not None:
            span.set_attribute("error.type", type(context.original_exception).__name__)
            span.set_status(StatusCode.ERROR)
            span.end()


async def send_the_last(provider: TracerProvider) -> None:
    """Give a collector that is there the time to take what is left; one that is away holds up no end."""
    loop, sent = asyncio.get_running_loop(), asyncio.Event()

    def end() -> None:
        provider.shutdown()
        with contextlib.suppress(RuntimeError):  # nobody waits any more
            loop.call_soon_threadsafe(sent.set)

    threading.Thread(target=end, name="last-spans", daemon=True).start()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(LAST_SPANS_SECONDS):
            await sent.wait()
