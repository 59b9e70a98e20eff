"""Which credentials open which route, read from the routes themselves. It describes; `access` decides."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI
from fastapi.routing import iter_route_contexts

from apviso.protocol.states import Scope
from apviso.server.access import CREDENTIALS, SCOPES

# A credential that is no header, and so no dependency of its route.
_IN_THE_BODY = {"/api/runner/register": ("enrollment token",)}


@dataclass(frozen=True)
class Admission:
    """`credentials` are kinds of which one is needed; none where anybody may call. `scopes` an API key must have all."""

    method: str
    path: str
    credentials: tuple[str, ...]
    scopes: frozenset[Scope]

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


def admissions(app: FastAPI) -> list[Admission]:
    """Every route of the application, documented or not, by its path."""
    found = [_of(route, method) for route in iter_route_contexts(app.routes) for method in route.methods or {"ANY"}]
    return sorted(found, key=lambda one: (one.path, one.method))


def _of(route: Any, method: str) -> Admission:
    asked = list(_asked(getattr(route, "dependant", None)))
    kinds = {kind: None for call in asked for kind in CREDENTIALS.get(call, ())}
    path = str(route.path)
    return Admission(method, path, tuple(kinds) or _IN_THE_BODY.get(path, ()), frozenset(SCOPES[call] for call in asked if call in SCOPES))


def _asked(dependant: Any) -> Iterator[object]:
    """The route's dependencies, and theirs."""
    for inner in dependant.dependencies if dependant is not None else ():
        yield inner.call
        yield from _asked(inner)
