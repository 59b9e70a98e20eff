"""The OpenAPI document and the pages made from it."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

import pytest

from apviso.server.errors import every_refusal
from apviso.server.openapi import document, operations
from apviso.server.openapi_examples import examples_by_schema
from apviso.server.problem_advice import ADVICE
from tests.support.control_plane import Plane, described

DOCUMENT = document(described())
OPERATIONS = [pytest.param(operation, id=operation["operationId"]) for _, _, operation in operations(DOCUMENT)]
# Told by the layers around all routes, so no single operation lists them.
EVERYWHERE = {"not_found", "method_not_allowed", "bad_request", "internal_error"}


def _references(part: Any) -> set[str]:
    match part:
        case dict():
            inner = set().union(*(_references(value) for value in part.values()))
            return inner | {part["$ref"]} if isinstance(part.get("$ref"), str) else inner
        case list():
            return set().union(*(_references(value) for value in part))
        case _:
            return set()


async def test_document_is_served_as_it_was_made(plane: Plane) -> None:
    answer = await plane.call("GET", "/openapi.json")

    assert answer.status_code == 200
    assert answer.json() == DOCUMENT


def test_document_names_no_server_and_every_tag(plane: Plane) -> None:
    used = {tag for _, _, operation in operations(DOCUMENT) for tag in operation["tags"]}

    assert "servers" not in DOCUMENT
    assert used == {tag["name"] for tag in DOCUMENT["tags"]}
    assert set(DOCUMENT["components"]["securitySchemes"]) == {"ApiKey", "ApiKeyBearer", "RunnerToken"}


def test_document_refers_only_to_schemas_that_it_has() -> None:
    known = {f"#/components/schemas/{name}" for name in DOCUMENT["components"]["schemas"]}

    assert _references(DOCUMENT) <= known
    assert not {"HTTPValidationError", "ValidationError"} & DOCUMENT["components"]["schemas"].keys()


def test_operation_ids_are_readable_and_distinct() -> None:
    ids = [operation["operationId"] for _, _, operation in operations(DOCUMENT)]

    assert len(ids) == len(set(ids))
    assert all(re.fullmatch(r"[a-z]+([A-Z][a-z]+)*", one) for one in ids)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_operation_is_described_with_examples_of_body_and_answers(operation: dict[str, Any]) -> None:
    contents = [
        media for status, answer in operation["responses"].items() if status != "304" for media in answer.get("content", {}).values()
    ]
    body = operation.get("requestBody", {}).get("content", {}).get("application/json")

    assert operation["description"]
    assert all(media.keys() & {"example", "examples"} for media in contents if media["schema"] != {"type": "string"})
    assert body is None or body["schema"].get("examples")


@pytest.mark.parametrize("operation", OPERATIONS)
def test_operation_refuses_with_problems_only(operation: dict[str, Any]) -> None:
    refusals = [answer for status, answer in operation["responses"].items() if int(status) >= 400]

    assert all(set(answer["content"]) == {"application/problem+json"} for answer in refusals)
    assert all(answer["content"]["application/problem+json"]["schema"] == {"$ref": "#/components/schemas/Problem"} for answer in refusals)


def test_examples_are_all_used() -> None:
    used = {
        answer.get("content", {}).get("application/json", {}).get("schema", {}).get("$ref", "").rpartition("/")[2]
        for _, _, operation in operations(DOCUMENT)
        for answer in operation["responses"].values()
    }

    assert set(examples_by_schema()) - {"ScanLog"} <= used


def test_problem_codes_are_each_listed_by_an_operation_or_told_everywhere() -> None:
    listed = {
        code
        for _, _, operation in operations(DOCUMENT)
        for answer in operation["responses"].values()
        for code in answer.get("content", {}).get("application/problem+json", {}).get("examples", {})
    }

    assert {kind.code for kind in every_refusal()} - listed <= EVERYWHERE | {"target_unverified"}


def test_problem_codes_each_have_advice() -> None:
    assert set(ADVICE) == {kind.code for kind in every_refusal()}


class _Page(HTMLParser):
    """What a page loads and runs, and whether its elements close."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loads: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag not in ("meta", "br"):
            self.open.append(tag)
        if tag in ("script", "img", "iframe", "link") or "src" in given or any(name.startswith("on") for name in given):
            self.loads.append(tag)
        if "id" in given:
            self.ids.append(given["id"])
        if "href" in given:
            self.links.append(given["href"])

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


async def test_reference_page_needs_nothing_but_itself(plane: Plane) -> None:
    answer = await plane.call("GET", "/docs")

    page = _Page(answer.text)
    assert answer.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert (page.open, page.loads) == ([], [])
    assert all(link.startswith(("/", "#")) for link in page.links)
    assert len(page.ids) == len(set(page.ids))


async def test_reference_page_shows_every_operation_and_schema(plane: Plane) -> None:
    page = _Page((await plane.call("GET", "/docs")).text)

    assert {operation["operationId"] for _, _, operation in operations(DOCUMENT)} <= set(page.ids)
    assert {f"schema-{name}" for name in DOCUMENT["components"]["schemas"]} <= set(page.ids)
    assert {link[1:] for link in page.links if link.startswith("#")} <= set(page.ids)


async def test_problems_are_each_explained_to_people_and_programs(plane: Plane) -> None:
    paths = {kind: f"/problems/{kind.code}" for kind in every_refusal()}

    pages = {kind.code: await plane.call("GET", path, headers={"accept": "text/html"}) for kind, path in paths.items()}
    told = {kind.code: (await plane.call("GET", path)).json() for kind, path in paths.items()}

    assert [code for code, page in pages.items() if code not in page.text or _Page(page.text).open] == []
    assert {code: (said["code"], said["status"], said["advice"]) for code, said in told.items()} == {
        kind.code: (kind.code, kind.status, ADVICE[kind.code]) for kind in paths
    }


async def test_problem_with_unknown_code_is_not_found(plane: Plane) -> None:
    answer = await plane.call("GET", "/problems/nonsense")

    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


async def test_problem_index_links_to_every_code(plane: Plane) -> None:
    page = _Page((await plane.call("GET", "/problems")).text)

    assert {f"/problems/{kind.code}" for kind in every_refusal()} <= set(page.links)
