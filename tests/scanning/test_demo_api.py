from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from apviso.demo.api import ORDERS_TOKEN
from apviso.demo.truth import FLAWS_OF_API
from tests.scanning.shops import Fetch, open_for_visits

CHECKS = "not_a_server_error,ignored_auth,response_schema_conformance,status_code_conformance"


def test_careless_api_has_each_of_its_flaws(careless: Fetch) -> None:
    assert (careless("/api/books/1'").status, "OperationalError" in careless("/api/books/1'").json["error"]) == (500, True)
    assert careless("/api/books/9%20OR%201=1").json["id"] == 1
    assert len(careless("/api/stock?title=x'%20OR%20'1'='1").json) == 4
    assert careless("/api/orders/1").json["address"] != ""
    assert careless("/api/postage?copies=0").status == 500
    assert {type(author["titles"]) for author in careless("/api/authors").json} == {str}


def test_hardened_api_has_none_of_them(hardened: Fetch) -> None:
    assert hardened("/api/books/1'").status == 400
    assert hardened("/api/stock?title=x'%20OR%20'1'='1").json == []
    assert (hardened("/api/orders/1").status, hardened("/api/orders/1").headers["www-authenticate"]) == (401, "Bearer")
    assert hardened("/api/postage?copies=0").json == {"total": 0, "perCopy": 0}
    assert {type(author["titles"]) for author in hardened("/api/authors").json} == {int}
    assert hardened("/api/books").headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("authorization", ["", "Bearer", "Bearer wrong", f"Basic {ORDERS_TOKEN}", ORDERS_TOKEN, "Bearer \xff"])
def test_orders_of_the_hardened_shop_without_their_token_are_refused(authorization: str, hardened: Fetch) -> None:
    assert hardened("/api/orders/1", Authorization=authorization).status == 401


def test_orders_of_the_hardened_shop_open_with_their_token(hardened: Fetch) -> None:
    assert hardened("/api/orders/1", Authorization=f"Bearer {ORDERS_TOKEN}").json["title"] == "Night Trains"


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/api/books", 200),
        ("/api/books?author=Adair&limit=1", 200),
        ("/api/books?limit=0", 400),
        ("/api/books?limit=51", 400),
        ("/api/books?limit=%C2%B2", 400),
        ("/api/books?author=", 400),
        ("/api/books/1", 200),
        ("/api/books/99", 404),
        ("/api/books/", 404),
        ("/api/books/1/2", 404),
        ("/api/stock", 400),
        ("/api/stock?title=Night%20Trains", 200),
        ("/api/postage?copies=2", 200),
        ("/api/postage?copies=1001", 400),
        ("/api/authors", 200),
        ("/api/nothing", 404),
    ],
)
def test_operations_with_plain_requests_answer_alike_in_both_shops(path: str, status: int, careless: Fetch, hardened: Fetch) -> None:
    answers = [careless(path), hardened(path)]

    assert [answer.status for answer in answers] == [status, status]
    assert {answer.headers["content-type"] for answer in answers} == {"application/json"}
    assert status == 200 or all(list(answer.json) == ["error"] for answer in answers)


@pytest.mark.parametrize("path", ["/api/books/1;DELETE%20FROM%20books", "/api/books/%00", "/api/stock?title='%00"])
def test_query_that_the_database_cannot_read_is_answered_as_a_server_error(path: str, careless: Fetch) -> None:
    answer = careless(path)

    assert (answer.status, list(answer.json)) == (500, ["error"])


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "QUERY"])
def test_operations_asked_by_another_method_refuse_it(method: str, hardened: Fetch) -> None:
    answer = hardened("/api/books", method)

    assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD")


def test_document_of_both_shops_is_the_same_and_names_another_server(careless: Fetch, hardened: Fetch) -> None:
    document = careless("/openapi.json").json

    assert document == hardened("/openapi.json").json
    assert {flaw.path for flaw in FLAWS_OF_API} <= set(document["paths"])
    assert [server["url"] for server in document["servers"]] == ["https://bookshop.example/v1"]


@pytest.mark.parametrize("page", ["/", "/books", "/search?q=a", "/contact", "/author?name=Adair"])
def test_pages_of_the_shop_do_not_link_to_the_api(page: str, careless: Fetch) -> None:
    body = careless(page).body

    assert ("/api" in body, "openapi" in body) == (False, False)


def test_visits_of_operations_are_counted_under_their_path_in_the_document(careless: Fetch) -> None:
    careless("/api/books/1")
    careless("/api/books/2'")
    careless("/api/authors")

    counted = careless("/visits").json

    assert (counted["/api/books/{bookId}"], counted["/api/authors"]) == (2, 1)


def schemathesis(port: int, folder: Path) -> tuple[int, set[tuple[str, str]]]:
    """Its exit code, and what it found: kinds of failures with the operations that have them."""
    command = [
        str(Path(sys.executable).with_name("schemathesis")), "run", f"http://127.0.0.1:{port}/openapi.json", "--url", f"http://127.0.0.1:{port}",
        "--checks", CHECKS, "--phases", "examples,coverage,fuzzing", "--max-examples", "15", "--seed", "1", "--continue-on-failure",
        "--report", "json", "--report-dir", str(folder),
        "--generation-database", "none", "--no-color",
    ]  # fmt: skip
    ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=200)
    reports = list(folder.glob("*.json"))
    assert len(reports) == 1, ended.stdout + ended.stderr
    told = json.loads(reports[0].read_text())
    assert told["operations"]["tested"] == 6, ended.stdout
    return ended.returncode, {(failure["type"], operation) for failure in told["failures"] for operation in failure["operations"]}


@pytest.mark.slow
def test_schemathesis_finds_the_flaws_of_the_careless_api(tmp_path: Path) -> None:
    with open_for_visits(hardened=False) as port:
        exit_code, found = schemathesis(port, tmp_path)

    assert {
        ("IgnoredAuth", "GET /api/orders/{orderId}"),
        ("ServerError", "GET /api/postage"),
        ("JsonSchemaError", "GET /api/authors"),
    } <= found
    assert exit_code == 1


@pytest.mark.slow
def test_schemathesis_finds_nothing_in_the_hardened_api(tmp_path: Path) -> None:
    with open_for_visits(hardened=True) as port:
        exit_code, found = schemathesis(port, tmp_path)

    assert (exit_code, found) == (0, set())
