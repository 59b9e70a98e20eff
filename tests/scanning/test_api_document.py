from __future__ import annotations

import json
from typing import Any

import pytest

from apviso.scanning.api_document import ApiDocument, BadDocument, Operation, Parameter, find, read
from tests.scanning.conftest import StartGuard, Target, rules_of
from tests.scanning.orders import limits_of

URL = "http://127.0.0.1:8911/docs/openapi.json"
OK: dict[str, Any] = {"responses": {"200": {"description": "ok"}}}


def document(paths: dict[str, Any], **more: Any) -> bytes:
    return json.dumps({"openapi": "3.0.3", "info": {"title": "t", "version": "1"}, "paths": paths, **more}).encode()


def understood(paths: dict[str, Any], **more: Any) -> ApiDocument:
    return read(document(paths, **more), URL, limits_of())


def test_operations_that_need_another_method_or_an_excluded_path_are_left_out() -> None:
    item = {"get": OK, "post": OK, "delete": OK, "summary": "kept", "parameters": []}
    paths = {"/books": item, "/logout": {"get": OK}, "/x": {"get": {**OK, "operationId": "resetAll"}}}

    api = understood(paths)

    assert [operation.label for operation in api.operations] == ["GET /books"]
    assert api.document["paths"] == {"/books": {"summary": "kept", "parameters": [], "get": OK}}
    assert api.left_out == 4


@pytest.mark.parametrize(
    ("servers", "base"),
    [
        ([{"url": "https://elsewhere.example/v1/"}], "/v1"),
        ([{"url": "/v2"}], "/v2"),
        ([{"url": "../api"}], "/api"),
        ([{"url": "https://{stage}.example/{base}", "variables": {"stage": {"default": "a"}, "base": {"default": "v3"}}}], "/v3"),
        ([{"url": "https://elsewhere.example"}], ""),
        ([], ""),
        ([{"url": "http://["}], ""),
        ([{"url": "/v4\u0000\r\n?a=b#c"}], "/v4%00"),
        ([{"url": "/../v5\ud800"}], "/v5"),
        ("odd", ""),
        ([7], ""),
    ],
)
def test_servers_of_a_document_tell_a_path_and_never_an_address(servers: Any, base: str) -> None:
    api = understood({"/books": {"get": OK}}, servers=servers)

    assert (api.base_path, api.operations[0].path) == (base, f"{base}/books")
    assert api.document["servers"] == [{"url": f"http://127.0.0.1:8911{base}"}]


def test_swagger_2_is_read_and_readdressed_too() -> None:
    told = {"swagger": "2.0", "host": "elsewhere.example", "basePath": "/v1", "schemes": ["https"]}
    parameters = [{"name": "bookId", "in": "path", "type": "integer", "minimum": 5}]

    api = read(json.dumps({**told, "paths": {"/books/{bookId}": {"get": OK, "parameters": parameters}}}).encode(), URL, limits_of())

    assert (api.document["host"], api.document["basePath"], api.document["schemes"]) == ("127.0.0.1:8911", "/v1", ["http"])
    assert api.operations == (Operation("GET /books/{bookId}", "GET", "/v1/books/{bookId}", (Parameter("bookId", True, "5"),)),)


@pytest.mark.parametrize(
    ("parameter", "example"),
    [
        ({"example": "a b"}, "a b"),
        ({"examples": {"one": {"value": 7}}}, "7"),
        ({"schema": {"default": True}}, "true"),
        ({"schema": {"enum": ["first", "second"]}}, "first"),
        ({"schema": {"type": "integer", "minimum": 3}}, "3"),
        ({"schema": {"type": "boolean"}}, "true"),
        ({"schema": {"type": "string", "format": "date"}}, "2026-01-01"),
        ({"schema": {"$ref": "#/components/schemas/Id"}}, "from-a-reference"),
        ({"schema": {"$ref": "#/nowhere"}}, "1"),
        ({"schema": {"$ref": "#/components/schemas/Loop"}}, "1"),
        ({}, "1"),
    ],
)
def test_example_of_a_parameter_comes_from_the_document_or_its_type(parameter: dict[str, Any], example: str) -> None:
    schemas = {"Id": {"example": "from-a-reference"}, "Loop": {"$ref": "#/components/schemas/Loop"}}
    paths = {"/x": {"get": {**OK, "parameters": [{"name": "p", "in": "query", **parameter}]}}}

    (operation,) = understood(paths, components={"schemas": schemas}).operations

    assert operation.parameters == (Parameter("p", False, example),)


@pytest.mark.parametrize(
    "leading_out",
    [
        {"$ref": "file:///etc/passwd"},
        {"$ref": "http://127.0.0.2:1/x.json#/a"},
        {"$ref": "other.json"},
        {"$id": "file:///etc/", "type": "string"},
        {"id": "file:///etc/", "type": "string"},
        {"externalValue": "file:///etc/passwd"},
        {"operationRef": "file:///etc/passwd#/paths/~1x/get"},
        {"operationRef": "other.json"},
        [{"allOf": [{"$ref": "/etc/passwd"}]}],
    ],
)
def test_nothing_in_a_document_leads_out_of_it(leading_out: Any) -> None:
    paths = {"/x": {"get": {**OK, "parameters": [{"name": "p", "in": "query", "schema": {"oneOf": [leading_out]}}]}, "servers": [7]}}

    api = understood(paths, components={"schemas": {"A": leading_out, "B": {"$ref": "#/components/schemas/A"}}})

    told = json.dumps(api.document)
    assert not {word for word in ("file:", "/etc", "127.0.0.2", "other.json", '"servers": [7]') if word in told}
    assert "#/components/schemas/A" in told


def test_operations_to_which_a_path_refers_are_asked_or_left_out_like_others() -> None:
    items = {"Open": {"get": OK, "delete": OK}, "Closed": {"get": {**OK, "operationId": "resetAll"}}}
    paths = {"/x": {"$ref": "#/components/pathItems/Open"}, "/y": {"$ref": "#/components/pathItems/Closed", "get": OK}}

    api = understood(paths, components={"pathItems": items})

    assert [operation.label for operation in api.operations] == ["GET /x"]
    assert (api.document["paths"], api.left_out) == ({"/x": {"get": OK}}, 2)


@pytest.mark.parametrize("path", ["//[x", "//logout/x", "/[/logout", "/x\ud800\u0000"])
def test_path_that_could_be_taken_for_an_address_is_read_as_a_path(path: str) -> None:
    api = understood({path: {"get": OK}, "/y": {"get": {**OK, "operationId": "/[y"}}})

    assert [operation.path for operation in api.operations] == [*([] if "logout" in path else [path.replace("\ud800", "?")]), "/y"]


def test_long_value_that_all_operations_refer_to_does_not_multiply() -> None:
    long = {"name": "n", "in": "query", "example": "e" * 1_000_000}
    parameters = [{"$ref": "#/components/parameters/Long"}, {"name": "m" * 1_000_000, "in": "query"}]

    api = understood(
        {f"/x{number}": {"get": {**OK, "parameters": parameters}} for number in range(3)}, components={"parameters": {"Long": long}}
    )

    assert {operation.address("http://h") for operation in api.operations} == {f"http://h/x{number}?n=1" for number in range(3)}


def test_address_of_an_operation_holds_every_example_encoded() -> None:
    operation = Operation("", "GET", "/a/{id}", (Parameter("id", True, "1/2"), Parameter("q", False, "x&y")))

    assert operation.address("http://h") == "http://h/a/1%2F2?q=x%26y"
    assert operation.address("http://h", "*") == "http://h/a/1%2F2*?q=x%26y*"


@pytest.mark.parametrize(
    "text",
    [b"", b"<html>", b"[]", b"{}", b'{"openapi": "3.0.0"}', b'{"openapi": "2", "paths": {}}', b'{"paths": {}}', b"[" * 100_000],
)
def test_what_is_no_document_is_refused(text: bytes) -> None:
    with pytest.raises(BadDocument):
        read(text, URL, limits_of())


@pytest.mark.parametrize("item", [7, {"get": 7}, {"get": {"parameters": 7}}, {"get": {"parameters": [7, {"name": 7, "in": "path"}]}}])
def test_document_with_odd_parts_is_read_without_them(item: Any) -> None:
    assert len(understood({"/x": item, "/y": {"get": OK}, "no path": {"get": OK}}).operations) in (1, 2)


async def test_document_is_found_at_a_usual_place_and_asked_where_it_answers(target: Target, guarded: StartGuard) -> None:
    guard = await guarded(rules_of(target))
    told = document({"/books": {"get": OK}}, servers=[{"url": "/v9"}])
    target.status = 404
    target.bodies = {"/v3/api-docs": told}
    target.statuses = {"/v3/api-docs": 200, "/books": 401}

    found = find(f"{target.url}/", guard.proxy_url, limits_of(), None)

    assert found is not None
    assert (found.url, found.base_path) == (f"{target.url}/v3/api-docs", "")
    assert [operation.path for operation in found.operations] == ["/books"]


async def test_target_without_a_document_has_none(target: Target, guarded: StartGuard) -> None:
    guard = await guarded(rules_of(target))

    assert find(f"{target.url}/", guard.proxy_url, limits_of(), None) is None


@pytest.mark.parametrize("named", ["/missing.json", "http://[", "http://127.0.0.2:1/openapi.json", "/logout.json"])
async def test_document_that_was_named_and_is_none_is_refused(named: str, target: Target, guarded: StartGuard) -> None:
    guard = await guarded(rules_of(target))

    with pytest.raises(BadDocument):
        find(f"{target.url}/", guard.proxy_url, limits_of(), named)
