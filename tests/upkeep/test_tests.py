"""Tests about the tests: what they are called, that none is skipped in silence, none sleeps, none pretends to be our own code."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator

import pytest

from tests.upkeep.sources import ROOT, Module, modules

NAME = re.compile(r"test(_[a-z0-9]+){3,}")
SLEEPS = {"time.sleep", "asyncio.sleep", "sleep"}
CHECKING_CALL = re.compile(r"assert|check|expect|validate|run_state_machine")
STAND_INS = {"mock", "unittest.mock", "pytest_mock"}


def badly_named(module: Module) -> Iterator[str]:
    """Tests whose name is not `test_<subject>_<circumstance>_<outcome>`."""
    yield from (function.name for function in module.functions() if function.name.startswith("test") and not NAME.fullmatch(function.name))


def unexplained_skips(module: Module) -> Iterator[str]:
    """Skips and expected failures without a reason."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in {"pytest.mark.skip", "pytest.mark.skipif", "pytest.mark.xfail"}:
            if not any(keyword.arg == "reason" for keyword in node.keywords):
                yield ast.unparse(node)
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in {"pytest.skip", "pytest.xfail"}:
            if not node.args and not node.keywords:
                yield ast.unparse(node)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            bare = (ast.unparse(decorator) for decorator in node.decorator_list)
            yield from (f"{node.name}: {mark}" for mark in bare if mark in {"pytest.mark.skip", "pytest.mark.xfail"})


def sleeping_tests(module: Module) -> Iterator[str]:
    """Tests that sleep instead of waiting for something."""
    for function in module.functions():
        if function.name.startswith("test_"):
            own = (node for statement in function.body for node in _outside_inner_functions(statement))
            if any(isinstance(node, ast.Call) and ast.unparse(node.func) in SLEEPS for node in own):
                yield function.name


def _outside_inner_functions(node: ast.AST) -> Iterator[ast.AST]:
    yield node
    if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
        for child in ast.iter_child_nodes(node):
            yield from _outside_inner_functions(child)


def stand_ins(module: Module) -> Iterator[str]:
    """Mocks. Real parts are used; the few fakes there are have names of their own."""
    for origin, name in module.imports():
        if origin in STAND_INS or (origin == "unittest" and name == "mock"):
            yield f"{origin} {name}".strip()


def checks_nothing(module: Module) -> Iterator[str]:
    """Tests that cannot fail but by accident: no assertion, no expected error, no call that is named for a check."""
    for function in module.functions():
        inner = list(ast.walk(function))
        states = any(isinstance(node, ast.Assert | ast.With | ast.AsyncWith | ast.Raise) for node in inner)
        asks = any(isinstance(node, ast.Call) and _checks(node) for node in inner)
        if function.name.startswith("test_") and not (states or asks):
            yield function.name


def _checks(call: ast.Call) -> bool:
    """Whether a call is named for a check, or told which exit code it has to see."""
    return CHECKING_CALL.search(ast.unparse(call.func)) is not None or any(keyword.arg == "exit_code" for keyword in call.keywords)


RULES: tuple[Callable[[Module], Iterator[str]], ...] = (
    badly_named,
    unexplained_skips,
    sleeping_tests,
    stand_ins,
    checks_nothing,
)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_tests_as_they_are_keep_the_rule(rule: Callable[[Module], Iterator[str]]) -> None:
    found = {module.place: list(rule(module)) for module in modules(ROOT / "tests")}

    assert {place: what for place, what in found.items() if what} == {}


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        (badly_named, "def test_it(): assert 1"),
        (unexplained_skips, "@pytest.mark.skip\ndef test_a_b_c(): assert 1"),
        (unexplained_skips, "@pytest.mark.skipif(True)\ndef test_a_b_c(): assert 1"),
        (unexplained_skips, "def test_a_b_c():\n    pytest.skip()"),
        (sleeping_tests, "def test_a_b_c():\n    if True:\n        time.sleep(1)"),
        (stand_ins, "from unittest.mock import patch"),
        (stand_ins, "from unittest import mock"),
        (checks_nothing, "def test_a_b_c(): print(1)"),
    ],
)
def test_breach_of_a_rule_is_found(rule: Callable[[Module], Iterator[str]], text: str) -> None:
    assert list(rule(Module("test_example.py", text))) != []
