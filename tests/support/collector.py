"""An OTLP collector on loopback: takes spans over HTTP as the protocol has it, and keeps them as they came and decoded."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest, ExportTraceServiceResponse


class Collector:
    """`raw` is every body, `headers` what came with them."""

    def __init__(self) -> None:
        self.raw = b""
        self.paths: list[str] = []
        self._requests: list[Any] = []
        self._grown = threading.Condition()

    def take(self, path: str, body: bytes) -> None:
        request = ExportTraceServiceRequest()
        request.ParseFromString(body)
        with self._grown:
            self.raw += body
            self.paths.append(path)
            self._requests.append(request)
            self._grown.notify_all()

    @property
    def spans(self) -> list[Any]:
        with self._grown:
            return [span for one in self._requests for of in one.resource_spans for scope in of.scope_spans for span in scope.spans]

    @property
    def resource(self) -> dict[str, str]:
        with self._grown:
            return {word.key: word.value.string_value for word in self._requests[0].resource_spans[0].resource.attributes}


def attributes(span: Any) -> dict[str, Any]:
    return {word.key: getattr(word.value, word.value.WhichOneof("value")) for word in span.attributes}


@contextmanager
def collecting() -> Iterator[tuple[str, Collector]]:
    """Its address and what it has got."""
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:  # the library's name
            collector.take(self.path, self.rfile.read(int(self.headers["content-length"])))
            answer = ExportTraceServiceResponse().SerializeToString()
            self.send_response(200)
            self.send_header("content-type", "application/x-protobuf")
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}", collector
        finally:
            server.shutdown()
            thread.join(10)
