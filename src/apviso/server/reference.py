"""The reference for people: the OpenAPI document as pages that need no script and ask no other host."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, StrictUndefined

from apviso.server.errors import PROBLEM_MEDIA_TYPE, Refusal


@dataclass(frozen=True)
class Field:
    """A parameter or a member of a schema. `type` is written for people; `schemas` are the named ones it mentions."""

    name: str
    type: str
    is_required: bool
    description: str
    place: str = ""


@dataclass(frozen=True)
class Answer:
    status: str
    description: str
    schema: str
    codes: tuple[str, ...]
    example: str


@dataclass(frozen=True)
class Operation:
    id: str
    method: str
    path: str
    tag: str
    description: str
    credentials: tuple[str, ...]
    parameters: tuple[Field, ...]
    body: str
    body_example: str
    answers: tuple[Answer, ...]


@cache
def _pages() -> Environment:
    return Environment(
        loader=PackageLoader("apviso.server", "pages"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )


@cache
def _style() -> str:
    return files("apviso.server").joinpath("pages/reference.css").read_text(encoding="utf-8")


@cache
def _policy() -> str:
    """Nothing is loaded; the one style sheet in the page is known by its digest."""
    digest = base64.b64encode(hashlib.sha256(_style().encode()).digest()).decode()
    return f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"


def page(template: str, **values: Any) -> HTMLResponse:
    written = _pages().get_template(template).render(style=_style(), **values)
    return HTMLResponse(written, headers={"content-security-policy": _policy()})


def contents(document: dict[str, Any]) -> dict[str, Any]:
    """What the reference page shows."""
    every = list(list_operations(document))
    return {
        "info": document["info"],
        "tags": [(tag, [entry for entry in every if entry.tag == tag["name"]]) for tag in document["tags"]],
        "schemas": [(name, schema, list(_members(schema))) for name, schema in document["components"]["schemas"].items()],
    }


def operations_with(document: dict[str, Any], refusal: type[Refusal]) -> list[Operation]:
    """The operations that may answer with this problem."""
    return [entry for entry in list_operations(document) if any(refusal.code in answer.codes for answer in entry.answers)]


def list_operations(document: dict[str, Any]) -> Iterator[Operation]:
    for path, item in document["paths"].items():
        for method, said in item.items():
            body = said.get("requestBody", {}).get("content", {}).get("application/json", {})
            yield Operation(
                id=said["operationId"],
                method=method.upper(),
                path=path,
                tag=said["tags"][0],
                description=said.get("description", ""),
                credentials=tuple(name for one in said.get("security", []) for name in one),
                parameters=tuple(_parameter(one) for one in said.get("parameters", [])),
                body=type_of(body["schema"]) if body else "",
                body_example=_example(_body_schema(document, body)),
                answers=tuple(_answer(status, one) for status, one in said["responses"].items()),
            )


def _body_schema(document: dict[str, Any], body: dict[str, Any]) -> dict[str, Any]:
    """Where the example of a body is: beside its schema, or in it."""
    return body if "example" in body or "examples" in body else dict(body.get("schema", {}))


def _parameter(said: dict[str, Any]) -> Field:
    return Field(said["name"], type_of(said["schema"]), said.get("required", False), said.get("description", ""), said["in"])


def _answer(status: str, said: dict[str, Any]) -> Answer:
    content = said.get("content", {})
    if PROBLEM_MEDIA_TYPE in content:
        return Answer(status, "", "Problem", tuple(content[PROBLEM_MEDIA_TYPE]["examples"]), "")
    media: dict[str, Any] = next(iter(content.values()), {})
    schema = type_of(media["schema"]) if "schema" in media else ""
    return Answer(status, said["description"], schema, (), _example(media))


def _example(media: dict[str, Any]) -> str:
    found = media.get("example", next(iter(media.get("examples", [])), None))
    if found is None:
        return ""
    return found if isinstance(found, str) else json.dumps(found, indent=2, ensure_ascii=False)


def _members(schema: dict[str, Any]) -> Iterator[Field]:
    required = schema.get("required", [])
    for name, member in schema.get("properties", {}).items():
        yield Field(name, type_of(member), name in required, member.get("description", ""))


def type_of(schema: dict[str, Any]) -> str:
    """A schema in a few words: `string (date-time)`, `array of Runner`, `integer 1 to 64 or null`."""
    if "$ref" in schema:
        return str(schema["$ref"].rpartition("/")[2])
    for several in ("anyOf", "oneOf", "allOf"):
        if several in schema:
            return _alternatives(type_of(one) for one in schema[several])
    if "const" in schema or "enum" in schema:
        return _alternatives(json.dumps(one) for one in schema.get("enum", [schema.get("const")]))
    if schema.get("type") == "array":
        return f"array of {type_of(schema.get('items', {}))}"
    return f"{schema.get('type', 'any')}{_bounds(schema)}"


def _alternatives(types: Iterable[str]) -> str:
    return " or ".join(dict.fromkeys(types))


def _bounds(schema: dict[str, Any]) -> str:
    written = f" ({schema['format']})" if "format" in schema else ""
    low = schema.get("minimum", schema.get("minLength"))
    high = schema.get("maximum", schema.get("maxLength"))
    unit = " characters" if schema.get("type") == "string" else ""
    if low is not None and high is not None:
        return f"{written} {low} to {high}{unit}"
    if high is not None:
        return f"{written} up to {high}{unit}"
    return written if low is None else f"{written} from {low}{unit}"
