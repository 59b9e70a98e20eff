"""The OpenAPI document of a target: found at the usual places or named by the order, and cut down to what the scan may ask.

Reads OpenAPI 3 and Swagger 2 in JSON. Believes it in nothing that concerns the target's address."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any
from urllib.parse import quote, urljoin, urlsplit

from apviso.protocol.limits import Limits
from apviso.scanning.fetching import fetch
from apviso.scanning.first_look import same_place
from apviso.scanning.links import is_excluded

USUAL_PLACES = (
    "openapi.json", "swagger.json", "v3/api-docs", "api/openapi.json", "swagger/v1/swagger.json", "api-docs", "v2/api-docs",
    "api/swagger.json",
)  # fmt: skip
MAX_DOCUMENT_BYTES = 8 * 1024 * 1024
MAX_OPERATIONS = 1_000
MAX_PARAMETERS = 20
# Of a parameter's name and of an example: one that is written once can be referred to by every operation.
MAX_VALUE_LENGTH = 500
TRIED_OPERATIONS = 3
METHODS = ("get", "head", "options", "post", "put", "patch", "delete")
# What operations of one path share. All else of a path that the scan may not use stays away, however it is written.
_SHARED = ("summary", "description", "parameters")


_IN_PATHS = "/%:@!$&'()*+,;=~"


class BadDocument(Exception):
    """It is no document of an API that can be used. The message is fit for people."""


@dataclass(frozen=True)
class Parameter:
    """`example` is a value that the operation should accept, ready for an address."""

    name: str
    in_path: bool
    example: str


@dataclass(frozen=True)
class Operation:
    """`path` is a template, from the target's root: `/api/books/{bookId}`; `label` is method and path as the document has them."""

    label: str
    method: str
    path: str
    parameters: tuple[Parameter, ...]

    def address(self, origin: str, mark: str = "") -> str:
        """With the examples as values, and `mark` behind each of them."""
        path = self.path
        for parameter in self.parameters:
            if parameter.in_path:
                path = path.replace("{" + parameter.name + "}", quote(parameter.example, safe="") + mark)
        query = "&".join(f"{quote(p.name, safe='')}={quote(p.example, safe='')}{mark}" for p in self.parameters if not p.in_path)
        return origin + path + (f"?{query}" if query else "")


@dataclass(frozen=True)
class ApiDocument:
    """`document` holds the permitted operations only, `base_path` is what its paths begin with, `left_out` counts the others."""

    url: str
    document: Mapping[str, Any]
    base_path: str
    operations: tuple[Operation, ...]
    left_out: int


def find(start_url: str, proxy_url: str, limits: Limits, named: str | None) -> ApiDocument | None:
    """The document that `named` (an address or a path on the target) leads to, else the first at a usual place.

    None where there is none. Raises BadDocument where the named one cannot be used."""
    if named is not None:
        try:
            url = urljoin(start_url, named)
        except ValueError as error:
            raise BadDocument(f"{named} is no address") from error
        return _fetched(url, start_url, proxy_url, limits)
    for url in _usual(start_url):
        try:
            return _fetched(url, start_url, proxy_url, limits)
        except BadDocument:
            continue
    return None


def _usual(start_url: str) -> list[str]:
    folders = (urljoin(start_url, "."), urljoin(start_url, "/"))
    return list(dict.fromkeys(urljoin(folder, place) for folder in folders for place in USUAL_PLACES))


def _fetched(url: str, start_url: str, proxy_url: str, limits: Limits) -> ApiDocument:
    if not same_place(url, start_url):
        raise BadDocument(f"{url} does not lie on the target")
    try:
        answer = fetch(url, proxy_url, MAX_DOCUMENT_BYTES)
    except (OSError, HTTPException, ValueError) as error:
        raise BadDocument(f"{url} does not answer: {error}") from error
    if answer.refusal is not None or answer.status != 200:
        raise BadDocument(f"{url} answers with status {answer.status}" + (f" ({answer.refusal})" if answer.refusal else ""))
    documented = read(answer.body, url, limits)
    if not documented.base_path or _answers(documented, proxy_url):
        return documented
    # Many a document names the place of another installation.
    at_root = read(answer.body, url, limits, base_path="")
    return at_root if _answers(at_root, proxy_url) else documented


def _answers(api: ApiDocument, proxy_url: str) -> bool:
    """Whether one of the first operations is there, whatever it answers."""
    parts = urlsplit(api.url)
    for operation in [operation for operation in api.operations if operation.method == "GET"][:TRIED_OPERATIONS]:
        try:
            if fetch(operation.address(f"{parts.scheme}://{parts.netloc}"), proxy_url, 0).status != 404:
                return True
        except (OSError, HTTPException, ValueError):
            continue
    return False


def read(text: bytes, url: str, limits: Limits, base_path: str | None = None) -> ApiDocument:
    """What a document means for this scan, at another base path than its own where one is given. Raises BadDocument."""
    try:
        told = _self_contained(json.loads(text))
    except (ValueError, RecursionError) as error:
        raise BadDocument(f"{url} is no JSON, or one that is nested too deeply") from error
    paths = told.get("paths") if isinstance(told, dict) else None
    if not isinstance(paths, dict) or not (str(told.get("openapi", "")).startswith("3.") or told.get("swagger") == "2.0"):
        raise BadDocument(f"{url} is no OpenAPI 3 or Swagger 2 document")
    base_path = _base_path(told, url) if base_path is None else base_path
    kept, operations, left_out = _permitted(told, base_path, limits)
    return ApiDocument(url, _readdressed(told, kept, url, base_path), base_path, tuple(operations), left_out)


def _self_contained(value: Any) -> Any:
    """The same without what leads out of it: a reader would follow that to files of this machine, and show their content to the target.

    It would ask other hosts, too, and past the guard."""
    if isinstance(value, list):
        return [_self_contained(item) for item in value]
    if isinstance(value, str):
        return _encodable(value)
    if not isinstance(value, dict):
        return value
    reference = value.get("$ref")
    if isinstance(reference, str) and not reference.startswith("#"):
        return {}
    return {_encodable(name): _self_contained(inner) for name, inner in value.items() if not _moves_references(name, inner)}


def _encodable(text: str) -> str:
    """JSON can write halves of characters, which no address can hold."""
    return text.encode(errors="replace").decode()


def _moves_references(name: str, value: Any) -> bool:
    if name == "operationRef":
        return isinstance(value, str) and not value.startswith("#")
    return name in ("$id", "$schema", "jsonSchemaDialect", "externalValue") or (
        name in ("id", "$anchor", "$dynamicRef") and isinstance(value, str) and ":" in value
    )


def _base_path(told: Mapping[str, Any], url: str) -> str:
    """Where its paths begin on the target. Only the path counts: documents name hosts of others, or of the developer."""
    if "swagger" in told:
        written = str(told.get("basePath") or "")
        address = f"/{written.lstrip('/')}" if written else ""
    else:
        servers = told.get("servers")
        first = servers[0] if isinstance(servers, list) and servers and isinstance(servers[0], dict) else {}
        variables = first.get("variables")
        address = re.sub(r"\{(\w+)\}", lambda name: _default(variables, name[1]), str(first.get("url") or ""))
    path = _path_of(address, url) if address else ""
    return f"/{path}" if path else ""


def _path_of(address: str, url: str) -> str:
    try:
        return quote(urlsplit(urljoin(url, address)).path, safe=_IN_PATHS).strip("/")
    except ValueError:
        return ""


def _default(variables: Any, name: str) -> str:
    variable = variables.get(name) if isinstance(variables, dict) else None
    return str(variable.get("default", "")) if isinstance(variable, dict) else ""


def _permitted(told: Mapping[str, Any], base_path: str, limits: Limits) -> tuple[dict[str, Any], list[Operation], int]:
    """The paths with permitted methods alone, their operations, and the number of those that were left out."""
    kept: dict[str, Any] = {}
    operations: list[Operation] = []
    left_out = 0
    for path, item, method, said in _operations(told):
        # As addresses, so that the path is read as a path, whatever it begins with.
        words = [f"//target{base_path}{path}", f"//target/{said.get('operationId', '')}"]
        if (
            method.upper() not in limits.methods
            or len(operations) >= MAX_OPERATIONS
            or any(is_excluded(w, limits.exclude_paths) for w in words)
        ):
            left_out += 1
            continue
        shared = {name: item[name] for name in _SHARED if name in item}
        kept.setdefault(path, shared)[method] = {name: value for name, value in said.items() if name != "servers"}
        label = f"{method.upper()} {path}"
        operations.append(Operation(label, method.upper(), base_path + path, _parameters(told, item, said)))
    return kept, operations, left_out


def _operations(told: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any], str, dict[str, Any]]]:
    """Each with its path and what stands there, which may be a reference to what several paths have."""
    for path, written in told["paths"].items():
        if path.startswith("/"):
            item = _resolved(told, written)
            yield from ((path, item, method, item[method]) for method in METHODS if isinstance(item.get(method), dict))


def _readdressed(told: Mapping[str, Any], paths: Mapping[str, Any], url: str, base_path: str) -> dict[str, Any]:
    """The document with the target's own address in place of whatever it names."""
    parts = urlsplit(url)
    without = {name: value for name, value in told.items() if name not in ("servers", "host", "basePath", "schemes", "webhooks")}
    if "swagger" in told:
        return {**without, "paths": paths, "host": parts.netloc, "basePath": base_path or "/", "schemes": [parts.scheme]}
    return {**without, "paths": paths, "servers": [{"url": f"{parts.scheme}://{parts.netloc}{base_path}"}]}


def _parameters(told: Mapping[str, Any], item: Mapping[str, Any], said: Mapping[str, Any]) -> tuple[Parameter, ...]:
    """Those of path and query, the operation's own before the path's."""
    found: dict[tuple[str, bool], Parameter] = {}
    for listed in (said.get("parameters"), item.get("parameters")):
        for written in listed if isinstance(listed, list) else []:
            parameter = _resolved(told, written)
            name, place = parameter.get("name"), parameter.get("in")
            if isinstance(name, str) and len(name) <= MAX_VALUE_LENGTH and place in ("path", "query"):
                found.setdefault((name, place == "path"), Parameter(name, place == "path", _example(told, parameter)))
    return tuple(found.values())[:MAX_PARAMETERS]


def _resolved(told: Mapping[str, Any], written: Any) -> Mapping[str, Any]:
    """What a reference inside the document points to; one that leads nowhere or outside is empty."""
    for _ in range(10):
        reference = written.get("$ref") if isinstance(written, dict) else None
        if reference is None:
            break
        written = told
        for part in str(reference).removeprefix("#/").split("/"):
            written = written.get(part.replace("~1", "/").replace("~0", "~")) if isinstance(written, dict) else None
    return written if isinstance(written, dict) else {}


def _example(told: Mapping[str, Any], parameter: Mapping[str, Any]) -> str:
    schema = _resolved(told, parameter.get("schema")) or parameter
    examples = parameter.get("examples")
    first = _resolved(told, next(iter(examples.values()), {})) if isinstance(examples, dict) else {}
    values = (parameter.get("example"), first.get("value"), schema.get("example"), schema.get("default"))
    listed = schema.get("enum")
    told_values = [value for value in (*values, *(listed if isinstance(listed, list) else ())) if isinstance(value, str | int | float)]
    return next((written for value in told_values if len(written := _written(value)) <= MAX_VALUE_LENGTH), None) or _invented(schema)


def _written(value: str | float) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


_BY_FORMAT = {
    "uuid": "00000000-0000-4000-8000-000000000001",
    "date": "2026-01-01",
    "date-time": "2026-01-01T00:00:00Z",
    "email": "a@example.com",
}


def _invented(schema: Mapping[str, Any]) -> str:
    match schema.get("type"):
        case "integer" | "number":
            least = schema.get("minimum")
            return str(least) if isinstance(least, int) and 1 < least < 10**18 else "1"
        case "boolean":
            return "true"
        case _:
            return _BY_FORMAT.get(str(schema.get("format")), "1")
