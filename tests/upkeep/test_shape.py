"""What every module has, and how none is called."""

from __future__ import annotations

import ast
from pathlib import PurePosixPath

import pytest

from tests.upkeep.sources import ROOT, Module, modules

EMPTY_NAMES = {"utils", "util", "helpers", "helper", "common", "misc", "manager", "base_service"}
CAPTION_LENGTH = 200


def needs_annotations(module: Module) -> bool:
    """Whether there is more in it than a caption and plain constants."""
    return any(not isinstance(node, ast.Expr | ast.Assign) for node in module.tree.body)


def problems_of(module: Module) -> list[str]:
    """What this module lacks."""
    found = []
    words = PurePosixPath(module.place).with_suffix("").parts
    if EMPTY_NAMES.intersection(words):
        found.append("its name says nothing")
    if not module.text.strip() and words[-1] == "__init__":
        return found
    if not ast.get_docstring(module.tree) and not words[-1].startswith("test_"):
        found.append("it has no caption")
    if needs_annotations(module) and ("__future__", "annotations") not in module.imports():
        found.append("it does not postpone annotations")
    return found


def test_modules_of_the_product_have_caption_and_speaking_name() -> None:
    found = {module.place: problems_of(module) for module in modules()}

    assert {place: problems for place, problems in found.items() if problems} == {}


def test_modules_of_the_tests_have_speaking_names_and_their_tools_captions() -> None:
    found = {module.place: problems_of(module) for module in modules(ROOT / "tests")}

    assert {place: problems for place, problems in found.items() if problems} == {}


def test_captions_of_the_product_are_one_or_two_sentences() -> None:
    first_paragraphs = {module.place: (ast.get_docstring(module.tree) or "").split("\n\n")[0] for module in modules()}

    too_long = {place: len(text) for place, text in first_paragraphs.items() if len(text) > CAPTION_LENGTH}

    assert too_long == {}


@pytest.mark.parametrize(
    ("place", "text", "problem"),
    [
        ("server/utils.py", '"""A caption."""\n', "its name says nothing"),
        ("server/helpers/names.py", '"""A caption."""\n', "its name says nothing"),
        ("server/names.py", "from __future__ import annotations\n", "it has no caption"),
        ("server/names.py", '"""A caption."""\nX: int | None = 1\n', "it does not postpone annotations"),
    ],
)
def test_module_without_what_it_needs_is_told(place: str, text: str, problem: str) -> None:
    assert problem in problems_of(Module(place, text))
