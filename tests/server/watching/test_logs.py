"""Each line of the server's log says whose request it was, and none says a token."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.end_to_end.installation import Installation, Process
from tests.support.people import Organization

SECRET = "s" * 43


def lines(server: Process) -> list[dict[str, Any]]:
    """The log so far; the first line of the process is its address, for people."""
    told = server.log.read_text().splitlines()
    return [json.loads(line) for line in told if line.startswith("{")]


def ids(server: Process, path: str) -> list[set[str]]:
    """Which of the ids the lines of requests to this path carry."""
    names = {"organization_id", "key_id", "runner_id", "job_id"}
    return [names & set(line) for line in lines(server) if line.get("path") == path]


@pytest.mark.slow
async def test_lines_of_requests_carry_the_ids_of_who_called(installation: Installation, acme: Organization) -> None:
    server = installation.start_server()
    target = await acme.target()
    runner = await acme.runner()
    await acme.scan(target["id"])
    job = await runner.claimed()
    await runner.run_whole(job)
    for _ in range(3):
        await runner.beat()
    await acme.client.get("/healthz")
    server.stop()

    job_path = f"/api/runner/jobs/{job['job']['id']}/start"
    assert ids(server, "/api/v1/targets") == [{"organization_id", "key_id"}]
    assert ids(server, "/api/runner/register") == [{"organization_id", "runner_id"}]
    assert ids(server, "/api/runner/jobs/claim") == [{"organization_id", "runner_id"}]
    assert ids(server, job_path) == [{"organization_id", "runner_id", "job_id"}]
    # On the documented way and from memory.
    assert ids(server, "/api/runner/heartbeat") == [{"organization_id", "runner_id"}] * runner.beats
    assert set(map(frozenset, ids(server, "/healthz"))) == {frozenset()}
    of_job = [line for line in lines(server) if line.get("path") == job_path]
    assert [(line["runner_id"], line["job_id"], bool(line["request_id"])) for line in of_job] == [(runner.id, job["job"]["id"], True)]


@pytest.mark.slow
async def test_line_of_a_request_that_proves_nothing_names_nobody(installation: Installation, client: httpx2.AsyncClient) -> None:
    server = installation.start_server()
    stranger = {"authorization": f"Bearer apvr_0123456789ab_{SECRET}"}
    await client.post("/api/runner/jobs/not-mine/lease", json={"attempt": 1}, headers=stranger)
    server.stop()

    assert ids(server, "/api/runner/jobs/not-mine/lease") == [set()]


@pytest.mark.slow
async def test_token_anywhere_in_a_request_is_in_no_line(installation: Installation, acme: Organization) -> None:
    server = installation.start_server()
    runner = await acme.runner()
    stranger = f"apvr_0123456789ab_{SECRET}"
    await acme.client.get(f"/api/v1/runners/{runner.token}", headers={"X-API-Key": acme.key, "X-Request-Id": runner.token})
    await acme.client.get(f"/nowhere/{stranger}", headers={"authorization": f"Bearer {stranger}"})
    await acme.client.post("/api/runner/register", json={"enrollmentToken": stranger, "version": acme.key})
    server.stop()

    told = server.log.read_text()

    assert "/nowhere/apvr_0123456789ab_[redacted]" in told
    assert [secret for secret in (SECRET, runner.token, acme.key, acme.key[18:], runner.token[18:]) if secret in told] == []
    assert all(json.loads(line) for line in told.splitlines() if line.startswith("{"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("form", "shape"), [("json", r'\{"method": "GET", .*"request_id": "mine"'), ("text", r"\d{4}-.* \[debug +\] request .*request_id=mine")]
)
async def test_log_takes_the_form_that_is_asked_for(
    installation: Installation, client: httpx2.AsyncClient, tmp_path: Path, form: str, shape: str
) -> None:
    installation.settings["APVISO_LOG_FORMAT"] = form
    server = installation.start_server()

    await client.get("/nowhere", headers={"X-Request-Id": "mine"})
    server.stop()

    (line,) = [line for line in server.log.read_text().splitlines() if "/nowhere" in line]
    assert re.match(shape, line), line
