"""The OpenAPI document, made once from the routes, and the pages made from it. It describes what the routes say and adds no rule."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, cast

from fastapi import APIRouter, FastAPI, Request
from fastapi.openapi.utils import get_openapi
from fastapi.responses import HTMLResponse, JSONResponse, Response
from pydantic.alias_generators import to_camel

from apviso.protocol.problems import Problem
from apviso.server.errors import PROBLEM_MEDIA_TYPE, NoSuchRoute, every_refusal
from apviso.server.openapi_examples import examples_by_schema
from apviso.server.problem_advice import ADVICE
from apviso.server.reference import contents, operations_with, page

router = APIRouter(include_in_schema=False)

DESCRIPTION = """\
Control plane of self-hosted security-test runners.

People and scripts call `/api/v1/...` with an API key (`X-API-Key: apvk_...`, or `Authorization: Bearer apvk_...`); runners call
`/api/runner/...` with their own token (`Authorization: Bearer apvr_...`). Neither kind of token opens the other surface.

JSON names are camelCase, times are UTC, ids are opaque strings. Unknown input fields are ignored. Creates accept `Idempotency-Key`.
Reads carry `ETag`, and `If-None-Match` gives 304. Every refusal is problem+json (RFC 9457) with a stable `code`, one human sentence
in `error`, the `requestId` that the log has too, and whether it is `retryable`.
"""
TAGS = [
    {"name": "runners", "description": "Enroll runners, watch them, ask why a scan may not start."},
    {"name": "targets", "description": "The applications to be tested."},
    {"name": "scans", "description": "Start, watch and cancel scans; read their log and report."},
    {"name": "findings", "description": "What scans found, and what became of it."},
    {"name": "events", "description": "Live events of the organization."},
    {"name": "administration", "description": "API keys, license and audit trail."},
    {"name": "daemon", "description": "What runners call. Changes only with the protocol version."},
    {"name": "health", "description": "Probes and metrics, without credential."},
]
_REF = "#/components/schemas/{model}"
_GENERATED_BY_FRAMEWORK = ("HTTPValidationError", "ValidationError")
_IF_NONE_MATCH = {
    "name": "If-None-Match",
    "in": "header",
    "required": False,
    "description": "The ETag of an earlier answer.",
    "schema": {"type": "string"},
}
_ETAG = {"ETag": {"description": "Names this state of the answer.", "schema": {"type": "string"}}}


@router.get("/openapi.json")
async def get_document(request: Request) -> JSONResponse:
    return JSONResponse(document(_app(request)))


@router.get("/docs")
async def get_reference(request: Request) -> HTMLResponse:
    """The reference as one page that needs nothing but itself."""
    return page("reference.html.j2", **contents(document(_app(request))))


@router.get("/problems")
async def list_problems() -> HTMLResponse:
    return page("problems.html.j2", problems=every_refusal(), advice=ADVICE)


@router.get("/problems/{code}")
async def explain_problem(code: str, request: Request) -> Response:
    """What a problem code means and what to do about it: a page for browsers, JSON for programs."""
    refusal = next((kind for kind in every_refusal() if kind.code == code), None)
    if refusal is None:
        raise NoSuchRoute("There is no problem with this code.")
    answered_by = operations_with(document(_app(request)), refusal)
    if "text/html" in request.headers.get("accept", ""):
        return page("problem.html.j2", problem=refusal, advice=ADVICE[code], operations=answered_by)
    explained = {"type": f"/problems/{code}", "code": code, "status": refusal.status, "title": refusal.message, "advice": ADVICE[code]}
    return JSONResponse(explained | {"retryable": refusal.retryable, "operations": [entry.id for entry in answered_by]})


def _app(request: Request) -> FastAPI:
    return cast(FastAPI, request.app)


def document(app: FastAPI) -> dict[str, Any]:
    """The document of this application. Made with the first call; routes do not change afterwards."""
    made: dict[str, Any] | None = getattr(app.state, "document", None)
    if made is None:
        app.state.document = made = _make(app)
    return made


def _make(app: FastAPI) -> dict[str, Any]:
    made = get_openapi(title=app.title, version=app.version, summary=app.summary, description=DESCRIPTION, routes=app.routes, tags=TAGS)
    schemas = made["components"]["schemas"]
    for name in _GENERATED_BY_FRAMEWORK:
        schemas.pop(name, None)
    schemas.update(_problem_schemas())
    for path, method, operation in operations(made):
        operation["operationId"] = _readable_id(path, method, operation["operationId"])
        operation.pop("summary", None)
        _drop_framework_refusal(operation)
        _describe_caching(path, method, operation)
        _add_examples(operation)
        operation["responses"] = dict(sorted(operation["responses"].items()))
    return made


def operations(made: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Path, method and operation, in the order of the document."""
    for path, item in made["paths"].items():
        for method, operation in item.items():
            yield path, method, operation


def _problem_schemas() -> dict[str, Any]:
    schema = Problem.model_json_schema(ref_template=_REF)
    inner = schema.pop("$defs", {})
    return {"Problem": schema, **inner}


def _readable_id(path: str, method: str, generated: str) -> str:
    """`getRunner` of the framework's `get_runner_api_v1_runners__id__get`."""
    return to_camel(generated.removesuffix(f"{re.sub(r'[^a-zA-Z0-9_]', '_', path)}_{method}"))


def _drop_framework_refusal(operation: dict[str, Any]) -> None:
    """The framework adds its own 422 to whatever has a parameter; routes that can refuse a field say so themselves."""
    if PROBLEM_MEDIA_TYPE not in operation["responses"].get("422", {}).get("content", {PROBLEM_MEDIA_TYPE: {}}):
        del operation["responses"]["422"]


def _describe_caching(path: str, method: str, operation: dict[str, Any]) -> None:
    answer = operation["responses"].get("200", {})
    if method == "get" and path.startswith("/api/v1/") and answer.get("content", {}).keys() - {"text/event-stream"}:
        answer["headers"] = _ETAG
        operation["responses"]["304"] = {"description": "Nothing changed since the ETag in If-None-Match."}
        operation.setdefault("parameters", []).append(_IF_NONE_MATCH)


def _add_examples(operation: dict[str, Any]) -> None:
    known = examples_by_schema()
    for status, answer in operation["responses"].items():
        content = answer.get("content", {}).get("application/json", {})
        name = content.get("schema", {}).get("$ref", "").rpartition("/")[2]
        if status.startswith("2") and name in known and not content.keys() & {"example", "examples"}:
            content["example"] = known[name]
