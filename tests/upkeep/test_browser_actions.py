"""Every form of the dashboard is sent in a real browser: a test there names those that it `submits`, and fails if it does not send them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from fastapi.routing import APIRoute

from apviso.server.dashboard.pages import ROUTERS
from tests.upkeep.sources import Module, modules

BROWSER = Path(__file__).parents[1] / "browser"


def submitted(module: Module) -> Iterator[str]:
    for test in module.functions():
        takes_desk = "desk" in {argument.arg for argument in test.args.args}
        for mark in test.decorator_list:
            if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.submits":
                assert takes_desk, f"{module.place}: {test.name} is held to what it says only if it takes `desk`"
                yield from (ast.literal_eval(form) for form in mark.args)


def test_every_form_of_the_dashboard_is_sent_in_a_browser() -> None:
    routes = [route for router in ROUTERS for route in router.routes if isinstance(route, APIRoute)]
    forms = {route.path for route in routes if "POST" in (route.methods or ())}

    assert {form for module in modules(BROWSER) for form in submitted(module)} == forms
