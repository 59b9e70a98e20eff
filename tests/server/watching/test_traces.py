"""Traces go to a collector that is named, over the real protocol, without a word of a client; else nothing is loaded."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.end_to_end.installation import Installation
from tests.support.collector import Collector, attributes, collecting
from tests.support.people import Organization

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"


@pytest.fixture
def collector(installation: Installation) -> Iterator[Collector]:
    with collecting() as (address, collector):
        installation.settings |= {"OTEL_EXPORTER_OTLP_ENDPOINT": address, "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=tests"}
        yield collector


def named(collector: Collector, name: str) -> list[Any]:
    return [span for span in collector.spans if span.name == name]


@pytest.mark.slow
async def test_requests_are_traced_by_route_with_the_statements_below_them(
    installation: Installation, acme: Organization, collector: Collector
) -> None:
    server = installation.start_server()
    target = await acme.target()
    runner = await acme.runner()
    await acme.scan(target["id"])
    job = await runner.claimed()
    await runner.on_job(job, "start")
    for _ in range(3):
        await runner.beat()
    await acme.client.get("/healthz")
    server.stop()

    (started,) = named(collector, "POST /api/runner/jobs/{id}/start")
    told = attributes(started)
    assert collector.paths[0] == "/v1/traces"
    assert (collector.resource["service.name"], collector.resource["deployment.environment.name"]) == ("apviso", "tests")
    assert (told["http.request.method"], told["http.response.status_code"]) == ("POST", 200)
    assert told["http.route"] == "/api/runner/jobs/{id}/start"
    assert (told["apviso.runner_id"], told["apviso.job_id"]) == (runner.id, job["job"]["id"])
    assert told["apviso.organization_id"]
    assert told["apviso.request_id"]
    below = [span for span in collector.spans if span.parent_span_id == started.span_id]
    assert {span.name for span in below} >= {"SELECT", "UPDATE", "INSERT"}
    assert all(attributes(span)["db.system.name"] == "sqlite" for span in below)
    assert any("UPDATE attempts SET" in attributes(span)["db.query.text"] for span in below)
    names = {span.name for span in collector.spans}
    # Heartbeats that are answered from memory are not traced, waiting and probing never.
    assert 0 < len(named(collector, "POST /api/runner/heartbeat")) < runner.beats
    assert not [name for name in names if name.endswith(("/claim", "/healthz", "/readyz", "/metrics"))]


@pytest.mark.slow
async def test_request_of_a_trace_joins_it_and_its_log_line_names_it(
    installation: Installation, acme: Organization, collector: Collector
) -> None:
    server = installation.start_server()
    state = {"tracestate": "vendor=word-of-a-client", "baggage": "word=word-of-a-client"}

    await acme.call("GET", "/quota", headers={"traceparent": f"00-{TRACE}-{PARENT}-01", **state})
    server.stop()

    (span,) = named(collector, "GET /api/v1/quota")
    assert (span.trace_id.hex(), span.parent_span_id.hex()) == (TRACE, PARENT)
    assert b"word-of-a-client" not in collector.raw
    assert [line for line in server.log.read_text().splitlines() if "/api/v1/quota" in line and f'"trace_id": "{TRACE}"' in line]


@pytest.mark.slow
async def test_token_and_word_of_a_client_is_in_no_byte_that_leaves(
    installation: Installation, acme: Organization, collector: Collector
) -> None:
    server = installation.start_server()
    target = await acme.target(domain="canary-host.example:3000", visibility="private_internal")
    runner = await acme.runner("canary-name")
    await acme.scan(target["id"])
    job = await runner.claimed()
    enrollment = await acme.enrollment_token()
    canaries = {"X-Request-Id": runner.token, "User-Agent": "canary-agent", "Host": "canary-host", "Cookie": "canary=cookie"}
    await acme.call("GET", f"/scans?status=canary-status&token={runner.token}", headers=canaries)
    await acme.call("GET", f"/runners/{runner.token}")
    await acme.client.get("/canary-path", headers={"authorization": f"Bearer {enrollment}"})
    await acme.client.request("CANARY", "/api/v1/quota")
    event = {"seq": 1, "at": "2026-05-03T09:15:32Z", "type": "log", "level": "info", "message": "canary-event"}
    await runner.on_job(job, "start")
    await runner.on_job(job, "events", events=[event])
    await runner.call("POST", "/heartbeat", {"bootId": "canary-boot", "beatSeq": "canary-number"})
    server.stop()

    assert len(collector.spans) > 20
    secrets = [acme.key, runner.token, enrollment, job["jobToken"]]
    assert [secret for secret in secrets if secret.encode() in collector.raw or secret[18:].encode() in collector.raw] == []
    assert b"canary" not in collector.raw.lower()
    sent = {name for span in collector.spans for name in attributes(span)}
    assert not [name for name in sent if name.startswith(("url.", "server.", "client.", "user_agent"))]
    assert not [span for span in collector.spans if span.events or span.links or span.trace_state]


@pytest.mark.slow
async def test_statement_that_fails_ends_its_span_and_that_of_the_request_as_errors(
    installation: Installation, acme: Organization, collector: Collector
) -> None:
    server = installation.start_server()
    with sqlite3.connect(installation.folder / "data" / "apviso.db") as beside:
        beside.execute("ALTER TABLE targets RENAME TO targets_elsewhere")
    beside.close()

    await acme.get("/targets")
    server.stop()

    (asked,) = named(collector, "GET /api/v1/targets")
    failed = [span for span in collector.spans if span.parent_span_id == asked.span_id and span.status.code == FAILED]
    assert (asked.status.code, attributes(asked)["http.response.status_code"]) == (FAILED, 503)
    assert [attributes(span)["error.type"] for span in failed] == ["OperationalError"]
    assert all(span.end_time_unix_nano >= span.start_time_unix_nano > 0 for span in collector.spans)


FAILED = 2


@pytest.mark.slow
async def test_collector_that_is_away_changes_no_answer_and_holds_up_no_end(installation: Installation, acme: Organization) -> None:
    installation.settings["OTEL_EXPORTER_OTLP_ENDPOINT"] = "http://127.0.0.1:1"
    server = installation.start_server()

    answer = await acme.get("/quota")
    server.stop()

    assert answer.status_code == 200
    assert server.wait() == 0


LOADED = "import sys; print([name for name in sys.modules if name.startswith(('opentelemetry.sdk', 'opentelemetry.exporter', 'google.'))])"
START = (
    "from pathlib import Path; from apviso.server.app import create_app; from apviso.server.settings import Settings; "
    "app = create_app(Settings(data_dir=Path('unused')))"
)
WITHOUT_THE_EXTRA = "import sys; sys.modules['opentelemetry.exporter.otlp.proto.http.trace_exporter'] = None"


def run(*statements: str, **environment: str) -> subprocess.CompletedProcess[str]:
    code = "; ".join(statements)
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True, timeout=60)


AWAY = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}


@pytest.mark.parametrize("environment", [{}, {"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, AWAY | {"OTEL_SDK_DISABLED": "true"}])
def test_server_that_is_told_no_collector_loads_nothing_of_it(environment: dict[str, str]) -> None:
    assert run(START, LOADED, **environment).stdout.strip() == "[]"


def test_server_with_a_collector_and_without_the_extra_says_what_to_install() -> None:
    ended = run(WITHOUT_THE_EXTRA, START, "print(app.title)", **AWAY)

    assert "APVISO Runners" in ended.stdout
    assert "pip install 'apviso[otel]'" in ended.stdout + ended.stderr


def test_framework_exports_nothing_by_itself_whatever_its_own_variables_say() -> None:
    told = AWAY | {"FASTAPI_OTEL_AUTO_CONFIGURE": "true", "OTEL_TRACES_EXPORTER": "none"}

    ended = run(START, "print(app._native_telemetry.enabled(), app._telemetry['auto_configure'])", **told)

    assert ended.stdout.strip() == "False False"
