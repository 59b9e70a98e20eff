from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

from apviso.protocol.states import ModelPreset
from apviso.scanning.adapters.schemathesis import Asking, Failure, Heard, asking, command, findings, read, settings
from apviso.scanning.api_document import ApiDocument, Operation, Parameter
from tests.scanning.assignments import ORIGIN, assignment_for, values_of
from tests.scanning.orders import order_for

REPORTS = Path(__file__).parent / "reports"


def operation(path: str, *parameters: str) -> Operation:
    return Operation(f"GET {path}", "GET", path, tuple(Parameter(name, f"{{{name}}}" in path, "1") for name in parameters))


OPERATIONS = {
    made.label: made
    for made in (
        operation("/api/books", "author", "limit"),
        operation("/api/books/{bookId}", "bookId"),
        operation("/api/stock", "title"),
        operation("/api/orders/{orderId}", "orderId"),
        operation("/api/postage", "copies"),
        operation("/api/authors"),
    )
}
API = ApiDocument(f"{ORIGIN}/openapi.json", {"openapi": "3.0.3"}, "/v2", tuple(OPERATIONS.values()), 0)


def heard(kind: str) -> Heard:
    return read(REPORTS / f"schemathesis-4.32.5-{kind}.ndjson", OPERATIONS)


def test_report_of_the_careless_shop_gives_one_finding_for_each_failure_and_operation() -> None:
    found = {(finding.cwe_id, finding.url.removeprefix(ORIGIN), finding.parameter) for finding in findings(heard("careless"), ORIGIN)}

    assert found == {
        (306, "/api/orders/{orderId}", None),
        (755, "/api/books/{bookId}", "bookId"),
        (755, "/api/postage", "copies"),
        (684, "/api/authors", None),
    }


def test_finding_shows_request_answer_and_a_command_to_repeat_it() -> None:
    (finding,) = [finding for finding in findings(heard("careless"), ORIGIN) if finding.url.endswith("/postage")]

    assert finding.evidence.startswith("GET /api/postage?copies=0\nStatus 500\n")
    assert "ZeroDivisionError" in finding.evidence
    assert finding.reproduction == [f"curl --silent --show-error --include -- '{ORIGIN}/api/postage?copies=0'"]
    assert finding.detectors == ["schemathesis"]


def test_checks_that_mean_the_same_flaw_share_one_finding_with_both_words() -> None:
    made = OPERATIONS["GET /api/authors"]
    kinds = {"response_schema_conformance": "1 is not a string", "status_code_conformance": "418 is not described"}
    failures = {
        (check, made.label): Failure(check, made, said, "GET", f"{ORIGIN}/api/authors?{check}", 200, "{}", None)
        for check, said in kinds.items()
    }

    (finding,) = findings(Heard(failures=failures, seen=dict.fromkeys(failures, 2)), ORIGIN)

    assert [said for said in (*kinds.values(), "Seen 4 times.") if said not in finding.evidence] == []
    assert len(finding.reproduction) == 2


def test_report_of_the_hardened_shop_gives_nothing_and_names_what_answered() -> None:
    told = heard("hardened")

    assert findings(told, ORIGIN) == []
    assert told.answered == set(OPERATIONS)
    assert (told.stop_reason, told.errors) == ("completed", [])


def test_answers_of_the_guard_are_none_of_the_target(tmp_path: Path) -> None:
    lines = (REPORTS / "schemathesis-4.32.5-careless.ndjson").read_text()
    path = tmp_path / "report.ndjson"
    path.write_text(lines.replace('"server": ["bookshop"]', '"X-Guard-Refusal": ["budget_spent"]'))

    told = read(path, OPERATIONS)

    assert (findings(told, ORIGIN), told.answered) == ([], set())


@pytest.mark.parametrize(
    "line", ["", "no json", "[" * 100_000, "[]", "7", '{"ScenarioFinished": 7}', '{"ScenarioFinished": {"recorder": {"interactions": 7}}}']
)
def test_line_that_cannot_be_read_is_told_and_the_rest_is_kept(line: str, tmp_path: Path) -> None:
    path = tmp_path / "report.ndjson"
    path.write_text(line + "\n" + json.dumps({"EngineFinished": {"stop_reason": "completed"}}) + "\n")

    told = read(path, OPERATIONS)

    assert (len(told.errors), told.stop_reason) == (1, "completed")


@pytest.mark.parametrize(
    ("operations", "asked"),
    [
        (6, Asking(30, "examples,coverage,fuzzing")),
        (40, Asking(30, "examples,coverage,fuzzing")),
        (60, Asking(30, "examples,fuzzing")),
        (400, Asking(5, "examples,fuzzing")),
        (100_000, Asking(1, "examples,fuzzing")),
    ],
)
def test_operations_are_asked_less_where_they_are_many(operations: int, asked: Asking) -> None:
    assert asking(30, operations, 10_000) == asked


def test_command_asks_the_target_alone_and_is_bounded_by_requests() -> None:
    line = command(assignment_for(), API, Asking(30, "examples,fuzzing"))

    assert values_of("--url", line) == [f"{ORIGIN}/v2"]
    assert (values_of("--max-examples", line), values_of("--workers", line)) == (["30"], ["1"])
    assert "--max-time" not in line
    assert "ignored_auth" in values_of("--checks", line)[0]


def test_command_leaves_out_the_check_for_credentials_where_the_guard_adds_them() -> None:
    order = order_for(f"{ORIGIN}/", preset=ModelPreset.MEDIUM).model_copy(update={"identities": ["default"]})

    assert "ignored_auth" not in values_of("--checks", command(assignment_for(order), API, Asking(30, "examples,fuzzing")))[0]


@pytest.mark.parametrize("share", [0.0, 0.3])
def test_settings_send_no_method_that_an_operation_does_not_have(share: float) -> None:
    told = tomllib.loads(settings(share))

    assert told["phases"]["coverage"]["unexpected-methods"] == []
    assert ("dictionaries" in told) == bool(share)
