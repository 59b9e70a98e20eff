from __future__ import annotations

from pathlib import Path

import pytest

from apviso.protocol.states import ModelPreset
from apviso.scanning.adapters.sqlmap import Place, command, gaps_of, parse, places, scan, target_file
from apviso.scanning.adapters.tool import ToolFailed
from apviso.scanning.api_document import ApiDocument, Operation, Parameter
from tests.scanning.assignments import ORIGIN, assignment_for, values_of
from tests.scanning.conftest import StartGuard, Target, rules_of
from tests.scanning.orders import order_for

REPORTS = Path(__file__).parent / "reports"
BOOK = Operation("GET /books/{bookId}", "GET", "/api/books/{bookId}", (Parameter("bookId", True, "1"), Parameter("full", False, "true")))
STOCK = Operation("GET /stock", "GET", "/api/stock", (Parameter("title", False, "Night & Day"),))
ALL = Operation("GET /all", "GET", "/api/all", ())
ADD = Operation("POST /books", "POST", "/api/books", (Parameter("dry", False, "1"),))
API = ApiDocument(f"{ORIGIN}/openapi.json", {}, "/api", (BOOK, STOCK, ALL, ADD), 0)


def report(kind: str) -> bytes:
    return (REPORTS / f"sqlmap-1.10.10-{kind}.json").read_bytes()


def test_injection_in_a_path_is_told_by_the_name_of_its_parameter() -> None:
    place = Place(f"{ORIGIN}/api/books/1*", "/api/books/{bookId}", ("bookId",))

    (finding,) = parse(report("path"), place, ORIGIN)

    assert (finding.cwe_id, finding.parameter, finding.url) == (89, "bookId", f"{ORIGIN}/api/books/{{bookId}}")
    assert "boolean-based blind" in finding.evidence
    assert finding.reproduction[0].startswith("curl --silent --show-error --include --")
    assert "/api/books/1%20AND%20" in finding.reproduction[0]


def test_injection_in_a_query_is_told_with_a_request_that_repeats_it() -> None:
    (finding,) = parse(report("query"), Place(f"{ORIGIN}/book?id=1", "/book"), ORIGIN)

    assert (finding.parameter, finding.url, finding.detectors) == ("id", f"{ORIGIN}/book", ["sqlmap"])
    assert f"{ORIGIN}/book?id=1%20" in finding.reproduction[0]


def test_report_without_a_find_gives_none() -> None:
    assert parse(report("nothing"), Place(f"{ORIGIN}/book?id=1", "/book"), ORIGIN) == []


@pytest.mark.parametrize(
    "text", [b"", b"{}", b'{"data": 7}', b'{"data": [{"type_name": "TECHNIQUES", "value": [{}]}]}', b'{"data": ["x"]}']
)
def test_report_of_another_form_is_a_failure(text: bytes) -> None:
    with pytest.raises(ToolFailed):
        parse(text, Place(f"{ORIGIN}/book?id=1", "/book"), ORIGIN)


def test_places_are_operations_and_pages_with_parameters_each_once() -> None:
    addresses = tuple(
        f"{ORIGIN}{rest}" for rest in ("/book?id=1", "/book?id=2", "/book?id=1&page=2", "/logout?now=1", "/api/stock?title=x")
    )

    found = list(places(assignment_for(api=API, addresses=addresses)))

    assert found == [
        Place(f"{ORIGIN}/api/books/1*?full=true*", "/api/books/{bookId}", ("bookId", "full")),
        Place(f"{ORIGIN}/api/stock?title=Night%20%26%20Day", "/api/stock"),
        Place(f"{ORIGIN}/book?id=1", "/book"),
        Place(f"{ORIGIN}/book?id=1&page=2", "/book"),
    ]


@pytest.mark.parametrize("preset", [ModelPreset.MEDIUM, ModelPreset.HIGH, ModelPreset.ULTRA])
def test_command_detects_and_takes_nothing(preset: ModelPreset, tmp_path: Path) -> None:
    line = command(assignment_for(preset=preset), tmp_path, 60)

    # `--smart` missed a known flaw; the others read or change what is not a scan's.
    takers = (
        "--dump",
        "--dbs",
        "--tables",
        "--passwords",
        "--os-",
        "--file-",
        "--sql-",
        "--users",
        "--all",
        "--smart",
        "--crawl",
        "--forms",
    )
    assert [part for part in line if part.startswith(takers)] == []
    assert (values_of("--risk", line), values_of("--method", line)) == (["1"], ["GET"])
    assert {"--batch", "--flush-session", "--skip-waf"} <= set(line)
    assert values_of("--proxy", line) == ["http://127.0.0.1:9"]
    assert values_of("--time-limit", line) == ["60"]


@pytest.mark.parametrize("ending", ["\n", "\r", "\x0b", "\x85", "\u2028", " \n[General]\n"])
def test_address_of_a_target_is_no_argument_and_never_a_second_setting(ending: str, tmp_path: Path) -> None:
    address = f"{ORIGIN}/book?id=1*&seen=of-the-target{ending}osShell = True"

    written = target_file(address)

    assert written.splitlines()[:1] == ["[Target]"]
    assert len(written.splitlines()) == 2
    assert f"url = {ORIGIN}/book?id=1*&seen=of-the-target%" in written
    assert "of-the-target" not in "".join(command(assignment_for(preset=ModelPreset.MEDIUM), tmp_path, 60))


NOTHING_FOUND = "all tested parameters do not appear to be injectable."


@pytest.mark.parametrize(
    ("complaints", "timed_out", "gaps"),
    [
        ([NOTHING_FOUND], False, []),
        (["not authorized, try to provide valid credentials (401)"], False, []),
        (["unable to connect to the target URL"], False, ["sqlmap did not test /book: unable to connect to the target URL"]),
        ([], False, ["sqlmap did not test /book: it ended without saying what it found"]),
        ([], True, ["sqlmap did not test /book to the end: its time was spent"]),
        ([NOTHING_FOUND], True, []),
    ],
)
def test_place_without_a_find_is_tested_only_where_sqlmap_says_so(complaints: list[str], timed_out: bool, gaps: list[str]) -> None:
    place = Place(f"{ORIGIN}/book?id=1", "/book")

    assert list(gaps_of(place, [], complaints, timed_out=timed_out)) == [f"injections_untested: {gap}" for gap in gaps]


def test_place_where_the_time_was_spent_after_a_find_is_a_gap_all_the_same() -> None:
    place = Place(f"{ORIGIN}/book?id=1", "/book")

    (gap,) = gaps_of(place, parse(report("query"), place, ORIGIN), ["connection timed out"], timed_out=True)

    assert gap == "injections_untested: sqlmap did not test /book to the end: its time was spent"


@pytest.mark.slow
async def test_target_too_slow_to_be_tested_is_a_gap_and_not_clean(
    target: Target, guarded: StartGuard, scanners_dir: Path, tmp_path: Path
) -> None:
    guard = await guarded(rules_of(target, requests_per_second=1))
    order = order_for(f"{target.url}/", preset=ModelPreset.MEDIUM, proxy_url=guard.proxy_url, work_dir=tmp_path, scanners_dir=scanners_dir)

    result = await scan(assignment_for(order, addresses=(f"{target.url}/book?id=1",), seconds=11))

    assert result.gaps == ["injections_untested: sqlmap did not test /book to the end: its time was spent"]


async def test_sqlmap_that_cannot_start_at_one_place_loses_nothing_of_the_others(tmp_path: Path) -> None:
    addresses = (f"{ORIGIN}/a?id=1", f"{ORIGIN}/b?id=1")
    order = order_for(f"{ORIGIN}/", preset=ModelPreset.MEDIUM, work_dir=tmp_path, scanners_dir=tmp_path / "nowhere")

    result = await scan(assignment_for(order, addresses=addresses))

    assert [gap.partition(": it cannot be started")[0] for gap in result.gaps] == [
        "injections_untested: sqlmap did not test /a",
        "injections_untested: sqlmap did not test /b",
    ]
