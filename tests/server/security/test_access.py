"""Every route with every credential, from the list of routes itself: what a route asks for is meant, and is what it is opened by."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from apviso.protocol.states import Scope
from apviso.protocol.tokens import Namespace, new_token
from apviso.server.admission import Admission, admissions
from apviso.server.openapi import document, operations
from apviso.server.settings import Settings
from tests.server.api.test_every_operation import EVERY, UNKNOWN_ID
from tests.server.scans.situations import queued_scan
from tests.support.clock import Clock
from tests.support.control_plane import Plane, described, running
from tests.support.databases import Databases

# Nothing here changes what another call depends on, so one control plane serves all of them.
pytestmark = pytest.mark.asyncio(loop_scope="module")
one_for_all = pytest_asyncio.fixture(scope="module", loop_scope="module")

ROUTES = admissions(described())
BODIES = {f"{operation.method} {operation.template}": operation.body for operation in EVERY}
# Who calls one of these needs nothing, so nothing there may be anybody's.
OPEN = {
    "GET /docs",
    "GET /favicon.ico",
    "GET /healthz",
    "GET /metrics",
    "GET /openapi.json",
    "GET /problems",
    "GET /problems/{code}",
    "GET /readyz",
    # How somebody becomes one who is signed in; a password or a link is in the form.
    "GET /set-up",
    "GET /sign-in",
    "GET /sign-in/oidc",
    "GET /sign-in/oidc/back",
    "GET /static/{name}",
    "POST /set-up",
    "POST /sign-in",
}
# An answer without an end; of its head alone it can be told who is let in.
STREAMS = {"GET /api/v1/events"}
# What a key has to be allowed, where it is not reading or writing what the path begins with.
OF_ADMINISTRATORS = {"api-keys", "audit-events", "organization", "webhooks"}
ANOTHER_AREA = {"events": "runners", "schedules": "scans"}
# Of a scan, what tells its findings.
OF_FINDINGS = {"findings", "report", "retest"}
FOR_ANY_KEY = {"GET /api/v1/quota"}


def meant(route: Admission) -> set[Scope]:
    """The scopes that a route of people is meant to ask for."""
    if str(route) in FOR_ANY_KEY:
        return set()
    last = route.path.rpartition("/")[2].partition(".")[0]
    area = "findings" if last in OF_FINDINGS else route.path.split("/")[3]
    if area in OF_ADMINISTRATORS:
        return {Scope.ADMIN}
    return {Scope(f"{ANOTHER_AREA.get(area, area)}:{'read' if route.method == 'GET' else 'write'}")}


async def test_routes_without_a_credential_are_those_that_are_meant_to_have_none() -> None:
    assert {str(route) for route in ROUTES if not route.credentials} == OPEN


async def test_routes_of_people_ask_for_the_scope_that_is_meant() -> None:
    of_people = [route for route in ROUTES if "API key" in route.credentials]

    assert len(of_people) > 40
    assert {str(route): set(route.scopes) for route in of_people} == {str(route): meant(route) for route in of_people}


async def test_routes_of_one_surface_take_no_credential_of_the_other() -> None:
    surfaces = {(_surface(route.path), kind) for route in ROUTES for kind in route.credentials}

    of_runners = {("/api/runner", kind) for kind in ("runner token", "job token", "enrollment token")}
    assert surfaces == {("/api/v1", "API key"), ("pages", "session")} | of_runners


def _surface(path: str) -> str:
    return "/".join(path.split("/")[:3]) if path.startswith("/api/") else "pages"


@one_for_all
async def plane(tmp_path_factory: pytest.TempPathFactory, databases: Databases) -> AsyncIterator[Plane]:
    folder = tmp_path_factory.mktemp("plane")
    limits = dict.fromkeys(("requests_per_minute", "daemon_requests_per_minute", "enrollments_per_minute"), 100_000)
    with databases.fresh(folder) as url:
        settings = Settings(data_dir=folder, database_url=url, housekeeping_interval_seconds=60).model_copy(update=limits)
        async with running(settings, Clock()) as plane:
            yield plane


@one_for_all
async def credentials(plane: Plane) -> dict[str, str]:
    """One of each kind by the name of its test, and the id of the job whose token is among them."""
    acme = await plane.organization("Acme")
    keys = {scope.value: (await acme.limited_to(scope.value)).key for scope in SCOPES}
    revoked = (await acme.post("/api-keys", {"name": "revoked", "scopes": ["admin"]})).raise_for_status().json()
    (await acme.delete(f"/api-keys/{revoked['apiKey']['id']}")).raise_for_status()
    busy, idle, gone = [await acme.runner(name) for name in ("busy", "idle", "gone")]
    case = await queued_scan(acme, busy)
    job = await case.running()
    (await acme.delete(f"/runners/{gone.id}")).raise_for_status()
    return {
        **keys,
        "nobody": "",
        "nonsense": "nonsense",
        "unknown API key": new_token(Namespace.API_KEY).reveal(),
        "unknown runner token": new_token(Namespace.RUNNER).reveal(),
        "revoked API key": revoked["key"],
        "revoked runner token": gone.token,
        "enrollment token": await acme.enrollment_token(),
        "runner token": idle.token,
        "job token": job["jobToken"],
        "job": job["job"]["id"],
    }


# What a scope of a whole family grants is a rule of its own, and so tested without any route.
SCOPES = [scope for scope in Scope if not scope.endswith(":*")]
WHO = [
    *(scope.value for scope in SCOPES),
    "nobody", "nonsense", "unknown API key", "unknown runner token", "revoked API key", "revoked runner token", "enrollment token",
    "runner token", "job token",
]  # fmt: skip
TURNED_AWAY = {"credential_missing", "credential_invalid", "wrong_credential", "runner_revoked"}


def expected(route: Admission, who: str) -> str:
    if not route.credentials or route.credentials == ("enrollment token",):
        return "let in"
    if who in SCOPES:
        allowed = all(Scope(who).grants(needed) for needed in route.scopes)
        return "401" if "API key" not in route.credentials else "let in" if allowed else "403"
    return "let in" if who in route.credentials else "401"


async def outcome(plane: Plane, route: Admission, token: str, job_id: str) -> str:
    method = "HEAD" if str(route) in STREAMS else route.method
    path = re.sub(r"\{\w+\}", job_id if "/jobs/" in route.path else UNKNOWN_ID, route.path)
    body: Any = BODIES.get(str(route))
    answer = await plane.call(method, path, token or None, **({} if body is None else {"json": body}))
    if answer.status_code == 303 and answer.headers["location"].startswith("/sign-in"):
        return "401"
    code = answer.json().get("code") if "problem+json" in answer.headers.get("content-type", "") and answer.content else None
    if answer.status_code == 401 and code in TURNED_AWAY | {None}:
        return "401"
    # An answer to HEAD has no code.
    is_refused = code == "insufficient_scope" or (answer.status_code == 403 and method == "HEAD")
    return "403" if is_refused else "let in"


@pytest.mark.parametrize("who", WHO)
async def test_routes_are_all_opened_by_their_credentials_and_by_no_other(who: str, plane: Plane, credentials: dict[str, str]) -> None:
    # Somebody else's job is not found by a runner, and no job at all for a token of another one.
    job_id = credentials["job"] if who == "job token" else UNKNOWN_ID

    # Pages look at cookies alone, which nobody here has: what one is told, all are.
    closed = [route for route in ROUTES if route.credentials and (_surface(route.path) != "pages" or who == "admin")]
    routes = ROUTES if who == "nobody" else closed

    found = {str(route): await outcome(plane, route, credentials[who], job_id) for route in routes}

    wrong = {str(route): (found[str(route)], expected(route, who)) for route in routes if found[str(route)] != expected(route, who)}
    assert wrong == {}


# What a body or a query can name beside the address, with what else has to be said.
NAMING: dict[str, dict[str, Any]] = {
    "GET /api/v1/audit-events subjectId": {},
    "GET /api/v1/findings targetId": {},
    "GET /api/v1/runners/readiness runnerId": {},
    "GET /api/v1/runners/readiness targetId": {},
    "GET /api/v1/scans runnerId": {},
    "GET /api/v1/scans targetId": {},
    "GET /api/v1/schedules targetId": {},
    "PATCH /api/v1/schedules/{id} runnerId": {},
    "POST /api/v1/scans parentScanId": {"targetId": "own target", "isRetest": True},
    "POST /api/v1/scans runnerId": {"targetId": "own target"},
    "POST /api/v1/scans targetId": {},
    "POST /api/v1/schedules runnerId": {"targetId": "own target", "frequency": "daily", "hour": 3},
    "POST /api/v1/schedules targetId": {"frequency": "daily", "hour": 3},
}
# A number of a public list; and what takes a whole scan to be had, tested with retests.
NAMING_NOTHING_HERE = {"GET /api/v1/findings cweId", "POST /api/v1/scans findingIds"}
KINDS = {"targetId": "target", "runnerId": "runner", "parentScanId": "scan", "subjectId": "target"}


def _named_things() -> set[str]:
    """Every identity of a query or body, by its operation of people."""
    told = document(described())
    found = set()
    for path, method, said in operations(told):
        queries = [one["name"] for one in said.get("parameters", []) if one["in"] == "query"]
        shapes = re.findall(r"#/components/schemas/(\w+)", json.dumps(said.get("requestBody", {})))
        members = [name for shape in shapes for name in told["components"]["schemas"][shape].get("properties", {})]
        found |= {f"{method.upper()} {path} {name}" for name in (*queries, *members) if re.search(r"Ids?$", name)}
    return {one for one in found if "/api/v1/" in one}


async def test_names_in_bodies_and_queries_are_all_tried() -> None:
    assert _named_things() == set(NAMING) | NAMING_NOTHING_HERE


@pytest.mark.parametrize("call", NAMING)
async def test_names_of_another_organization_in_bodies_and_queries_are_as_unknown(plane: Plane, call: str) -> None:
    acme, other = [await plane.organization(f"{whose} {call}") for whose in ("theirs", "own")]
    runner, own, theirs = await acme.runner(), await other.target(), await acme.target()
    ids = {"target": theirs["id"], "runner": runner.id, "scan": (await acme.scan(theirs["id"]))["scan"]["id"]}
    daily = {"targetId": own["id"], "frequency": "daily", "hour": 3}
    schedule = (await other.post("/schedules", daily)).raise_for_status().json()["schedule"]["id"]
    method, path, name = call.replace("{id}", schedule).split(" ")
    told = {key: own["id"] if value == "own target" else value for key, value in NAMING[call].items()}

    answers = []
    for value in (ids[KINDS[name]], UNKNOWN_ID):
        asked = {**told, name: value}
        place = path.removeprefix("/api/v1")
        answers.append(await other.call(method, place, **({"params": asked} if method == "GET" else {"json": asked})))

    alike = [{key: value for key, value in answer.json().items() if key != "requestId"} for answer in answers]
    assert answers[0].status_code == answers[1].status_code
    assert alike[0] == alike[1]
    # Either it is not there, or the list of what there is of it is empty.
    assert answers[0].status_code == 404 or (method == "GET" and alike[0]["total"] == 0)
