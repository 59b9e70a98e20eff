"""Every operation of the document, called wrongly in each way that is wrong for all of them."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from apviso.protocol.tokens import Namespace, new_token
from apviso.server.openapi import document, operations
from apviso.server.settings import Settings
from tests.support.clock import Clock
from tests.support.control_plane import Plane, described, running
from tests.support.databases import Databases
from tests.support.people import Organization, Runner

# Nothing here changes anything, so one control plane serves all of them.
pytestmark = pytest.mark.asyncio(loop_scope="module")
one_for_all = pytest_asyncio.fixture(scope="module", loop_scope="module")
UNKNOWN_ID = "01890a5d-ac96-774b-bcce-b302099a8057"


@dataclass(frozen=True)
class Operation:
    id: str
    method: str
    template: str
    credentials: frozenset[str]
    body: Any
    creates: bool

    @property
    def path(self) -> str:
        return re.sub(r"\{\w+\}", UNKNOWN_ID, self.template)

    def __str__(self) -> str:
        return self.id


def _described() -> Iterator[Operation]:
    for path, method, said in operations(document(described())):
        body = said.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
        credentials = frozenset(name for one in said.get("security", []) for name in one)
        example = next(iter(body.get("examples", [])), None)
        creates = method == "post" and not {"201", "202"}.isdisjoint(said["responses"])
        yield Operation(said["operationId"], method.upper(), path, credentials, example, creates)


EVERY = list(_described())
PEOPLE = [operation for operation in EVERY if "ApiKey" in operation.credentials]
DAEMON = [operation for operation in EVERY if "RunnerToken" in operation.credentials]
WITH_BODY = [operation for operation in PEOPLE + DAEMON if operation.body is not None]
WITH_ID = [operation for operation in PEOPLE + DAEMON if "{" in operation.template]


@one_for_all
async def plane(tmp_path_factory: pytest.TempPathFactory, databases: Databases) -> AsyncIterator[Plane]:
    folder = tmp_path_factory.mktemp("plane")
    with databases.fresh(folder) as url:
        async with running(_roomy(folder, url), Clock()) as plane:
            yield plane


def _roomy(folder: Path, database_url: str) -> Settings:
    return Settings(
        data_dir=folder,
        database_url=database_url,
        housekeeping_interval_seconds=60,
        requests_per_minute=100_000,
        daemon_requests_per_minute=100_000,
        enrollments_per_minute=100_000,
    )


@one_for_all
async def acme(plane: Plane) -> Organization:
    return await plane.organization("Acme")


@one_for_all
async def runner(acme: Organization) -> Runner:
    return await acme.runner()


def _known(operation: Operation, plane: Plane, token: str | None, **more: Any) -> Any:
    if operation.body is not None and not more:
        more = {"json": operation.body}
    return plane.call(operation.method, operation.path, token, **more)


async def test_operations_of_both_surfaces_are_described() -> None:
    assert len(PEOPLE) > 25
    assert len(DAEMON) > 10
    assert {operation.id for operation in EVERY if not operation.credentials} == {"healthz", "readyz", "metrics", "register"}


@pytest.mark.parametrize("operation", PEOPLE + DAEMON, ids=str)
async def test_operation_without_or_with_a_wrong_credential_is_refused(operation: Operation, plane: Plane) -> None:
    right = Namespace.API_KEY if operation in PEOPLE else Namespace.RUNNER
    wrong = [new_token(kind).reveal() for kind in Namespace if kind is not right]
    expected = {None: "credential_missing", "nonsense": "credential_invalid", new_token(right).reveal(): "credential_invalid"}

    answers = {token: await _known(operation, plane, token) for token in (*expected, *wrong)}

    assert {answer.status_code for answer in answers.values()} == {401}
    assert {token: answers[token].json()["code"] for token in expected} == expected
    # A job's token is for the daemon's job calls, where it is only unknown here.
    codes = {answers[token].json()["code"] for token in wrong}
    assert "wrong_credential" in codes
    assert codes <= {"wrong_credential", "credential_invalid"}
    assert {answer.headers["www-authenticate"] for answer in answers.values()} == {"Bearer"}


@pytest.mark.parametrize("operation", PEOPLE, ids=str)
async def test_operation_of_people_with_a_live_runner_token_is_refused(operation: Operation, plane: Plane, runner: Runner) -> None:
    answer = await _known(operation, plane, runner.token)

    assert (answer.status_code, answer.json()["code"]) == (401, "wrong_credential")


@pytest.mark.parametrize("operation", DAEMON, ids=str)
async def test_operation_of_runners_with_a_live_api_key_is_refused(operation: Operation, plane: Plane, acme: Organization) -> None:
    answer = await _known(operation, plane, acme.key)

    assert (answer.status_code, answer.json()["code"]) == (401, "wrong_credential")


@pytest.mark.parametrize("operation", [one for one in PEOPLE if one.id != "getQuota"], ids=str)
async def test_operation_without_its_scope_is_refused(operation: Operation, plane: Plane, acme: Organization) -> None:
    surface = operation.template.split("/")[3].replace("events", "runners")
    unrelated = "targets:read" if surface != "targets" else "runners:read"

    answer = await _known(operation, plane, (await acme.limited_to(unrelated)).key)

    assert (answer.status_code, answer.json()["code"]) == (403, "insufficient_scope")


@pytest.mark.parametrize("operation", WITH_BODY, ids=str)
@pytest.mark.parametrize(("body", "status", "code"), [("{", 400, "malformed_json"), ("7", 422, "invalid_fields")])
async def test_operation_with_a_bad_body_is_refused(
    operation: Operation, plane: Plane, acme: Organization, runner: Runner, body: str, status: int, code: str
) -> None:
    token = acme.key if operation in PEOPLE else runner.token

    answer = await _known(operation, plane, token, content=body, headers={"content-type": "application/json"})

    assert (answer.status_code, answer.json()["code"]) == (status, code)


@pytest.mark.parametrize("operation", WITH_ID, ids=str)
async def test_operation_on_an_unknown_id_is_not_found(operation: Operation, plane: Plane, acme: Organization, runner: Runner) -> None:
    token = acme.key if operation in PEOPLE else runner.token

    answer = await _known(operation, plane, token)

    assert answer.status_code == 404
    kinds = "runner|target|scan|schedule|job|finding|enrollment_token|api_key|webhook"
    assert re.fullmatch(rf"({kinds})_not_found", answer.json()["code"])
    assert json.loads(answer.content)["requestId"] == answer.headers["x-request-id"]
