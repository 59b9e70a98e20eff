"""What every call has in common: problems, request ids, limits, entity tags."""

from __future__ import annotations

import json

import httpx2
import pytest

from apviso.server.settings import Settings
from tests.support.control_plane import Plane
from tests.support.in_turn import in_turn
from tests.support.people import Organization, Runner


def _is_problem(answer: httpx2.Response, status: int, code: str) -> bool:
    body = answer.json()
    return (
        answer.status_code == status == body["status"]
        and answer.headers["content-type"] == "application/problem+json"
        and body["code"] == code
        and body["type"] == f"/problems/{code}"
        and body["error"] == body["detail"] != ""
        and body["requestId"] == answer.headers["x-request-id"]
        and isinstance(body["retryable"], bool)
    )


@in_turn("path", ["/api/v1/nothing", "/api/v2/targets", "/api/runner/nothing", "/nothing", "/api/v1/targets/"])
async def test_address_of_nothing_is_a_problem(plane: Plane, path: str) -> None:
    answer = await plane.call("GET", path)

    assert _is_problem(answer, 404, "not_found")


async def test_method_that_an_address_does_not_take_is_a_problem_with_allow(plane: Plane) -> None:
    answer = await plane.call("PUT", "/api/v1/quota")

    assert _is_problem(answer, 405, "method_not_allowed")
    assert answer.headers["allow"] == "GET"


@pytest.mark.parametrize("body", ["{", '{"domain": "shop.example.com",}', "\xff"])
async def test_body_that_is_no_json_is_a_problem(acme: Organization, body: str) -> None:
    answer = await acme.call("POST", "/targets", content=body.encode("latin-1"), headers={"content-type": "application/json"})

    assert _is_problem(answer, 400, "malformed_json")


@in_turn("body", [[], "text", 7, None])
async def test_body_of_another_shape_is_a_problem_with_fields(acme: Organization, body: object) -> None:
    answer = await acme.call("POST", "/targets", content=json.dumps(body), headers={"content-type": "application/json"})

    assert _is_problem(answer, 422, "invalid_fields")
    assert all(set(error) == {"field", "message"} for error in answer.json()["errors"])


@in_turn(
    "facts",
    ['{"a": "\\ud800"}', '{"\\ud800": 1}', '{"a": 1e999}', '{"a": NaN}', '{"a": "\\u0000"}', '{"a":{"a":{"a":{"a":{"a":{"a":1}}}}}}'],
)
async def test_facts_that_no_answer_could_carry_are_refused(acme: Organization, runner: Runner, plane: Plane, facts: str) -> None:
    beat = '{"bootId": "b", "beatSeq": 2, "version": "0.1.0", "capabilities": ' + facts + "}"

    answer = await plane.call("POST", "/api/runner/heartbeat", runner.token, content=beat, headers={"content-type": "application/json"})

    assert _is_problem(answer, 422, "invalid_fields")
    assert (await acme.get("/runners")).status_code == 200


async def test_field_whose_name_is_no_text_is_refused(runner: Runner, plane: Plane) -> None:
    path, body = "/api/runner/jobs/unknown/preflight", '{"attempt": 1, "ok": true, "checks": {"\\ud800": 7}}'

    answer = await plane.call("POST", path, runner.token, content=body, headers={"content-type": "application/json"})

    assert _is_problem(answer, 422, "invalid_fields")


async def test_body_over_the_limit_is_a_problem(acme: Organization) -> None:
    answer = await acme.post("/targets", {"domain": "x" * 1024**2})

    assert _is_problem(answer, 413, "body_too_large")


async def test_request_id_of_the_client_comes_back(acme: Organization) -> None:
    answer = await acme.get("/targets/unknown", headers={"X-Request-Id": "mine-1"})

    assert answer.headers["x-request-id"] == answer.json()["requestId"] == "mine-1"


async def test_request_id_that_could_forge_a_log_line_is_replaced(acme: Organization) -> None:
    answer = await acme.get("/targets", headers={"X-Request-Id": "a b;c"})

    assert answer.headers["x-request-id"] not in ("", "a b;c")


async def test_answers_carry_what_is_left_of_the_limit(acme: Organization) -> None:
    first, second = await acme.get("/quota"), await acme.get("/quota")

    left = [int(answer.headers["x-ratelimit-remaining"]) for answer in (first, second)]
    assert left[0] - left[1] == 1
    assert first.headers["x-ratelimit-limit"] == "100000"
    assert 0 < int(first.headers["x-ratelimit-reset"]) <= 60


@in_turn("path", ["/targets", "/scans", "/findings", "/runners", "/api-keys", "/audit-events", "/quota", "/runners/readiness", "/webhooks"])
async def test_read_unchanged_answers_not_modified(acme: Organization, path: str) -> None:
    first = await acme.get(path)

    known = [
        await acme.get(path, headers={"If-None-Match": tag}) for tag in (first.headers["etag"], f'"x", W/{first.headers["etag"]}', "*")
    ]
    changed = await acme.get(path, headers={"If-None-Match": '"other"'})

    assert [(answer.status_code, answer.content) for answer in known] == [(304, b"")] * 3
    assert (changed.status_code, changed.headers["etag"]) == (200, first.headers["etag"])


async def test_answers_are_not_kept_by_shared_caches(acme: Organization, runner: Runner) -> None:
    answers = [await acme.get("/targets"), await acme.get("/targets/unknown"), await runner.get("/targets")]

    assert [answer.headers["cache-control"] for answer in answers] == ["private, no-cache", "no-store", "no-store"]
    assert {answer.headers["x-content-type-options"] for answer in answers} == {"nosniff"}


class TestNarrowLimits:
    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        return settings.model_copy(update={"requests_per_minute": 3, "daemon_requests_per_minute": 4})

    async def test_key_over_its_limit_is_told_when_to_come_back(self, acme: Organization, other: Organization) -> None:
        answers = [await acme.get("/quota") for _ in range(4)]

        assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
        assert _is_problem(answers[-1], 429, "rate_limited")
        assert answers[-1].json()["retryable"]
        assert 0 < int(answers[-1].headers["retry-after"]) <= 60
        assert answers[-1].headers["x-ratelimit-remaining"] == "0"
        assert (await other.get("/quota")).status_code == 200

    async def test_runner_over_its_limit_leaves_the_keys_of_people_alone(self, acme: Organization, runner: Runner) -> None:
        # Its two heartbeats count, too.
        answers = [await runner.get("/targets") for _ in range(3)]

        assert [answer.status_code for answer in answers] == [200, 200, 429]
        assert (await acme.get("/quota")).status_code == 200


async def test_probes_answer_without_credential(plane: Plane) -> None:
    answers = [await plane.call("GET", path) for path in ("/healthz", "/readyz")]

    assert [(answer.status_code, answer.json()) for answer in answers] == [(200, {"status": "ok"})] * 2


async def test_metrics_count_requests(plane: Plane) -> None:
    await plane.call("GET", "/healthz")

    metrics = await plane.call("GET", "/metrics")

    assert metrics.status_code == 200
    assert 'apviso_http_requests_total{method="GET",route="/healthz",status="200"}' in metrics.text


async def test_head_answers_as_get_does_without_the_body(plane: Plane) -> None:
    answer = await plane.call("HEAD", "/healthz")

    assert (answer.status_code, answer.content) == (200, b"")


@pytest.mark.parametrize("path", ["/api/v1/targets", "/api/runner/heartbeat"])
async def test_call_without_any_credential_is_told_so_before_its_body_is_read(plane: Plane, path: str) -> None:
    answer = await plane.call("POST", path, content=b"{", headers={"content-type": "application/json"})

    assert _is_problem(answer, 401, "credential_missing")


async def test_body_that_is_not_sent_as_json_is_told_so(acme: Organization) -> None:
    answer = await acme.call("POST", "/targets", content=b'{"domain": "a.example"}', headers={"content-type": "text/plain"})

    assert _is_problem(answer, 422, "invalid_fields")
    assert "Content-Type: application/json" in answer.json()["errors"][0]["message"]


async def test_null_for_a_field_with_a_default_counts_as_left_out(acme: Organization) -> None:
    answer = await acme.post("/runners/enrollment-tokens", {"name": None, "labels": None, "ephemeral": None, "expiresInSeconds": None})

    assert answer.status_code == 201, answer.text
