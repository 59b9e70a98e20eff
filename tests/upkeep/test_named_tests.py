"""Pages that promise a test promise one that there is."""

from __future__ import annotations

import re

import pytest

from tests.faults.order import ONLY_HERE
from tests.upkeep.sources import ROOT, modules, read

THREATS, COMPLAINTS = "docs/explanation/threat-model.md", "docs/explanation/complaints.md"
FAULTS = "docs/explanation/faults.md"
NAMED = re.compile(r"`(test_\w+)`")
ROW = re.compile(r"^\| (?!---)(.+) \|$", re.MULTILINE)
HOW_MANY_COMPLAINTS = 36
UNCOVERED = "Not yet covered."


def functions() -> set[str]:
    return {function.name for module in modules(ROOT / "tests") for function in module.functions() if function.name.startswith("test_")}


def rows(page: str) -> list[list[str]]:
    """The cells of each row of the page's tables, without their heads."""
    return [cells for cells in (row.split(" | ") for row in ROW.findall(page)) if cells[0] not in {"threat", ""}]


def unknown(page: str) -> set[str]:
    return set(NAMED.findall(page)) - functions()


@pytest.mark.parametrize(("place", "at_least"), [(THREATS, 50), (COMPLAINTS, 50), (FAULTS, 30)])
def test_tests_that_a_page_names_are_all_there(place: str, at_least: int) -> None:
    page = read(place)

    assert len(NAMED.findall(page)) > at_least
    assert unknown(page) == set()


def test_test_that_is_not_there_is_found() -> None:
    assert unknown("| A threat | A deed | `test_that_nobody_has_written` |") == {"test_that_nobody_has_written"}


def test_threats_each_have_a_deed_and_a_test() -> None:
    threats = rows(read(THREATS))

    assert len(threats) > 50
    assert [cells[0] for cells in threats if len(cells) != 3 or not NAMED.search(cells[2])] == []


def test_boundaries_each_say_what_is_left_to_whoever_installs_it() -> None:
    boundaries = re.split(r"^## (?=\d)", read(THREATS), flags=re.MULTILINE)[1:]

    assert len(boundaries) == 10
    assert [text.splitlines()[0] for text in boundaries if "**Left to you.**" not in text] == []


def test_complaints_are_all_answered_once_with_source_and_test_or_reason() -> None:
    complaints = [cells for cells in rows(read(COMPLAINTS)) if cells[0] != "| complaint"]

    answered = {cells[0]: cells for cells in complaints if cells[0].isdigit()}

    assert [int(number) for number in answered] == list(range(1, HOW_MANY_COMPLAINTS + 1))
    assert [number for number, cells in answered.items() if "](https://" not in cells[2]] == []
    assert [number for number, cells in answered.items() if not (NAMED.search(cells[3]) or cells[3] == UNCOVERED)] == []


def test_faults_of_the_campaign_each_have_a_line_that_says_where_they_are_tried() -> None:
    made = re.findall(r'Fault\(\s*"(\w+)"', read("tests/faults/faults.py"))
    told = [name for cells in rows(read(FAULTS)) for name in re.findall(r"`(\w+)`", cells[0])]

    assert len(made) > 30
    assert sorted(told) == sorted(made)


def test_faults_that_only_the_campaign_tries_are_those_that_it_tries_first() -> None:
    alone = {name for cells in rows(read(FAULTS)) if "*campaign*" in cells[2] for name in re.findall(r"`(\w+)`", cells[0])}

    assert alone == ONLY_HERE
