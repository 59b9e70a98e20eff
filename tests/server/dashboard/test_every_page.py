"""What holds for each page, made from the list of routes, so that a new page is in it by itself."""

from __future__ import annotations

from fastapi.routing import APIRoute

from apviso.server.dashboard.pages import ROUTERS
from apviso.server.dashboard.rendering import POLICY, STATIC
from tests.support.control_plane import Plane
from tests.support.visitors import Visitor, forms_of

ROUTES = [route for router in ROUTERS for route in router.routes if isinstance(route, APIRoute)]
# Of those who are not signed in, and what every page loads.
OPEN = {"/sign-in", "/sign-in/oidc", "/sign-in/oidc/back", "/set-up", "/static/{name}", "/favicon.ico"}
CLOSED = [(method, route.path) for route in ROUTES for method in sorted(route.methods or ()) if route.path not in OPEN]
# Streams, data for scripts, and files.
NO_PAGES = {"/live", "/findings/export.csv", "/findings/export.json"}
# What everybody may do, to themselves.
OWN = {"/sign-out", "/settings/me/password", "/settings/me/sessions/{id}/end"}
NOBODYS = "01a22ae3-0000-7000-8000-000000000000"


def at(path: str) -> str:
    for name in ("id", "delivery_id", "session_id", "user_id", "prefix", "kind"):
        path = path.replace(f"{{{name}}}", NOBODYS)
    assert "{" not in path, path
    return path


async def test_nobody_sees_or_does_anything_without_signing_in(plane: Plane) -> None:
    for method, path in CLOSED:
        answer = await plane.client.request(method, at(path))

        assert answer.status_code == 303, path
        assert answer.headers["location"].startswith("/sign-in"), path


async def test_form_without_the_sessions_mark_is_refused(owner: Visitor) -> None:
    for path in (path for method, path in CLOSED if method == "POST"):
        assert (await owner.post(at(path), {})).status_code == 403, path


async def test_page_says_what_it_may_load(owner: Visitor) -> None:
    for path in (path for method, path in CLOSED if method == "GET" and path not in NO_PAGES):
        answer = await owner.get(at(path))

        assert answer.status_code in (200, 404), path
        assert answer.headers["content-security-policy"] == POLICY, path
        assert answer.headers["content-type"] == "text/html; charset=utf-8", path
        assert "<script>" not in answer.text, path
        assert "style=" not in answer.text, path


async def test_what_pages_load_is_packed_for_those_who_take_it(plane: Plane) -> None:
    for name in STATIC:
        plain = await plane.client.get(f"/static/{name}", headers={"accept-encoding": "identity"})
        packed = await plane.client.get(f"/static/{name}", headers={"accept-encoding": "br, gzip"})

        assert (plain.headers.get("content-encoding"), packed.headers["content-encoding"]) == (None, "gzip"), name
        assert plain.content == packed.content, name
        assert int(packed.headers["content-length"]) < int(plain.headers["content-length"]), name


async def test_viewer_can_do_nothing_but_to_themselves(viewer: Visitor) -> None:
    mark = {"csrf": forms_of((await viewer.get("/")).text)["/sign-out"]["csrf"]}
    answers = {path: (await viewer.post(at(path), mark)).status_code for method, path in CLOSED if method == "POST" and path not in OWN}

    assert len(answers) > 30
    assert {path: status for path, status in answers.items() if status != 403} == {}


def test_pages_are_no_part_of_the_documented_api() -> None:
    assert not any(route.include_in_schema for route in ROUTES)
