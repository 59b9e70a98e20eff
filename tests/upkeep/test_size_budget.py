"""Files and functions stay short enough to be read whole. The numbers are the budget, not an aim."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from statistics import median, quantiles

import pytest

from tests.upkeep.sources import modules

FILE_MEDIAN, FILE_MOST, FILE_LIMIT = 150, 400, 600
FUNCTION_MEDIAN, FUNCTION_MOST = 10, 35


def over_budget(lengths: Sequence[int], typical: int, most: int, limit: int | None = None) -> list[str]:
    """What is wrong with these lengths: their median, the ninth tenth, the longest."""
    found = []
    if median(lengths) > typical:
        found.append(f"median {median(lengths)} is over {typical}")
    if quantiles(lengths, n=10, method="inclusive")[8] > most:
        found.append(f"more than a tenth is over {most}")
    if limit is not None and max(lengths) > limit:
        found.append(f"the longest has {max(lengths)}, more than {limit}")
    return found


def length_of(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines from `def` to the end, without the docstring."""
    body = function.body
    told = body[0].end_lineno if ast.get_docstring(function) is not None else None
    skipped = told - body[0].lineno + 1 if told is not None else 0
    return (function.end_lineno or function.lineno) - function.lineno + 1 - skipped


def test_files_of_the_product_stay_within_budget() -> None:
    lengths = [module.lines for module in modules()]

    found = over_budget(lengths, FILE_MEDIAN, FILE_MOST, FILE_LIMIT)

    assert found == []


def test_functions_of_the_product_stay_within_budget() -> None:
    lengths = [length_of(function) for module in modules() for function in module.functions()]

    found = over_budget(lengths, FUNCTION_MEDIAN, FUNCTION_MOST)

    assert found == []


@pytest.mark.parametrize(
    ("lengths", "problems"),
    [([10] * 9 + [35], 0), ([11] * 10, 1), ([10] * 8 + [36] * 2, 1), ([10] * 99 + [601], 1)],
)
def test_budget_exceeded_in_one_way_is_told_once(lengths: list[int], problems: int) -> None:
    assert len(over_budget(lengths, 10, 35, 600)) == problems
