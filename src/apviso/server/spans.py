"""What leaves the server of a span: attributes from a closed list, and no word that a client wrote. Loaded only where traces are sent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import SpanContext
from opentelemetry.trace.status import Status
from opentelemetry.util.types import AttributeValue

from apviso import __version__
from apviso.protocol.tokens import without_secrets

# Not among them, though the framework sets them: the path, the query, the host and the method as they were asked for.
SENT = frozenset(
    {
        "http.request.method",
        "http.route",
        "http.response.status_code",
        "network.protocol.version",
        "error.type",
        "db.system.name",
        "db.query.text",
        "apviso.request_id",
        "apviso.organization_id",
        "apviso.key_id",
        "apviso.runner_id",
        "apviso.job_id",
    }
)


def exporting_provider() -> TracerProvider:
    resource = Resource.create({SERVICE_VERSION: __version__})
    if str(resource.attributes[SERVICE_NAME]).startswith("unknown_service"):
        resource = resource.merge(Resource({SERVICE_NAME: "apviso"}))
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(Plain(OTLPSpanExporter())))
    return provider


class Plain(SpanExporter):
    """Exports what is in the list, whoever has put what else into a span."""

    def __init__(self, inner: SpanExporter) -> None:
        self._inner = inner

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        return self._inner.export([plain(span) for span in spans])

    def shutdown(self) -> None:
        self._inner.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._inner.force_flush(timeout_millis)


def plain(span: ReadableSpan) -> ReadableSpan:
    # Events hold the words of exceptions, links and the state of a trace those of clients.
    return ReadableSpan(
        name=span.name,
        context=_stateless(span.context),
        parent=_stateless(span.parent),
        resource=span.resource,
        attributes=_sent(span.attributes or {}),
        kind=span.kind,
        status=Status(span.status.status_code),
        start_time=span.start_time,
        end_time=span.end_time,
        instrumentation_scope=span.instrumentation_scope,
    )


def _sent(attributes: Mapping[str, AttributeValue]) -> dict[str, AttributeValue]:
    return {name: without_secrets(value) if isinstance(value, str) else value for name, value in attributes.items() if name in SENT}


def _stateless(context: SpanContext | None) -> SpanContext | None:
    return SpanContext(context.trace_id, context.span_id, context.is_remote, context.trace_flags) if context is not None else None
