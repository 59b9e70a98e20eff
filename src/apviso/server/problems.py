"""Exception handlers: whatever goes wrong while a request is answered leaves as problem+json."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from apviso.protocol.problems import FieldProblem
from apviso.server.errors import (
    BadRequest,
    DatabaseUnavailable,
    InvalidFields,
    LeaseLost,
    MalformedJson,
    MethodNotAllowed,
    NoSuchRoute,
    Refusal,
    problem_response,
)
from apviso.server.metrics import FENCED

LONGEST_MESSAGE = 500
# body, events, number, type
_EVENT_TYPE_AT = 3
# What the framework says of a body that is no UTF-8 or is nested beyond reason.
UNREADABLE_BODY = "There was an error parsing the body"


def install(app: FastAPI) -> None:
    app.add_exception_handler(Refusal, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _framework_said_no)


def _answer(request: Request, refusal: Refusal) -> JSONResponse:
    return problem_response(refusal, request.state.request_id)


async def _refused(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, Refusal)
    if isinstance(error, LeaseLost):
        FENCED.inc()
    request.state.may_repeat = isinstance(error, DatabaseUnavailable) and error.may_repeat
    return _answer(request, error)


async def _invalid(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    found = error.errors()
    if any(item["type"] == "json_invalid" for item in found):
        return _answer(request, MalformedJson())
    return _answer(request, InvalidFields([FieldProblem(field=_field(item), message=_message(item, request)) for item in found[:50]]))


def _field(item: dict[str, Any]) -> str:
    """`body.events.0.seq` without the leading place, which the client knows. Names that the client made up may be no valid text."""
    location = [part for at, part in enumerate(item["loc"]) if not _is_kind_of_event(item["loc"], at)]
    named = ".".join(str(part)[:100] for part in location[1:]) or str(location[0])
    return named.encode(errors="replace").decode()


def _is_kind_of_event(location: tuple[str | int, ...], at: int) -> bool:
    """Where an event is read by its type, the type is named as if it were a field."""
    return at == _EVENT_TYPE_AT and location[1] == "events"


def _message(item: dict[str, Any], request: Request) -> str:
    if item["loc"] == ("body",) and "json" not in request.headers.get("content-type", ""):
        return "Send the body as JSON, with Content-Type: application/json."
    return str(item["msg"])[:LONGEST_MESSAGE].encode(errors="replace").decode()


async def _framework_said_no(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    match error.status_code:
        case 400 if error.detail == UNREADABLE_BODY:
            return _answer(request, MalformedJson())
        case 404:
            return _answer(request, NoSuchRoute())
        case 405:
            return _answer(request, MethodNotAllowed(headers=dict(error.headers or {})))
        case _:
            return _answer(request, BadRequest())
