"""The running server against its own document: generated requests get documented answers, and never an internal error."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from apviso.server.openapi import document
from tests.support.control_plane import described
from tests.support.databases import Databases

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_headers_conformance, response_schema_conformance]
DEADLINE_SECONDS = 60
# A stream has no end to wait for; its own tests read from it.
SCHEMA = schemathesis.openapi.from_dict(deepcopy(document(described()))).exclude(operation_id="followEvents")


@dataclass(frozen=True)
class Served:
    """A server with one of everything, so that generated calls also meet things that exist."""

    address: str
    key: str = field(repr=False)
    runner_token: str = field(repr=False)
    ids: dict[str, str]

    def token_for(self, path: str) -> str:
        return self.runner_token if path.startswith("/api/runner/") else self.key


def _command(*words: str) -> list[str]:
    return [sys.executable, "-c", "from apviso.cli import main; main()", *words]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, databases: Databases) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("served")
    with databases.fresh(folder) as url:
        yield from _serve(folder, url)


def _serve(folder: Path, database_url: str) -> Iterator[Served]:
    limits = {f"APVISO_{name}_PER_MINUTE": "1000000" for name in ("REQUESTS", "DAEMON_REQUESTS", "ENROLLMENTS")}
    # Generated addresses are long; what is too long is told before any route, and so by no operation.
    limits["APVISO_MAX_HEAD_BYTES"] = str(8 * 1024**2)
    environment = {**os.environ, **limits, "APVISO_DATA_DIR": str(folder / "data"), "APVISO_DATABASE_URL": database_url}
    with (
        (folder / "log").open("w") as log,
        subprocess.Popen(_command("server", "--port", "0"), stdout=subprocess.PIPE, stderr=log, text=True, env=environment) as process,
    ):
        try:
            assert process.stdout is not None
            address = process.stdout.readline().split()[-1].rstrip("/")
            told = subprocess.run(
                _command("admin", "bootstrap", "--json"), capture_output=True, check=True, timeout=DEADLINE_SECONDS, env=environment
            )
            yield _furnish(address, httpx2.Response(200, content=told.stdout).json()["apiKey"])
        finally:
            process.terminate()
            process.wait(DEADLINE_SECONDS)


def _furnish(address: str, key: str) -> Served:
    with httpx2.Client(base_url=address, timeout=DEADLINE_SECONDS) as client:
        people = {"X-API-Key": key}

        def made(path: str, body: dict[str, object], headers: dict[str, str] = people) -> dict[str, dict[str, str]]:
            answer: dict[str, dict[str, str]] = client.post(path, json=body, headers=headers).raise_for_status().json()
            return answer

        enrollment = str(made("/api/v1/runners/enrollment-tokens", {})["token"])
        runner = made("/api/runner/register", {"enrollmentToken": enrollment, "version": "0.1.0"}, {})
        daemon = {"authorization": f"Bearer {runner['token']}"}
        made("/api/runner/heartbeat", {"bootId": "b", "beatSeq": 1, "version": "0.1.0"}, daemon)
        target = made("/api/v1/targets", {"domain": "localhost:3000", "visibility": "localhost"})["target"]["id"]
        scan = made("/api/v1/scans", {"targetId": target})
        made("/api/runner/jobs/claim", {"nonce": "n", "freeSlots": 1}, daemon)
        ids = {"targets": target, "scans": scan["scan"]["id"], "runners": runner["runner"]["id"], "jobs": scan["job"]["id"]}
        return Served(address, key, str(runner["token"]), ids)


@pytest.mark.slow
@SCHEMA.parametrize()
@settings(max_examples=12, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
def test_operation_with_generated_requests_answers_as_documented(case: schemathesis.Case[Any], served: Served) -> None:
    if "wait" in case.query:
        case.query["wait"] = 0
    headers = {"authorization": f"Bearer {served.token_for(case.path)}"}

    case.call_and_validate(base_url=served.address, headers=headers, checks=CHECKS, timeout=DEADLINE_SECONDS)

    existing = next((known for kind, known in served.ids.items() if f"/{kind}/" in case.path), None)
    if "id" in case.path_parameters and existing is not None and case.method != "DELETE":
        case.path_parameters["id"] = existing
        case.call_and_validate(base_url=served.address, headers=headers, checks=CHECKS, timeout=DEADLINE_SECONDS)
