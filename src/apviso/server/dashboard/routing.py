"""The router that all pages use: what goes wrong behind a page becomes a page too."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any
from urllib.parse import urlencode

from fastapi import APIRouter, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import RedirectResponse, Response
from fastapi.routing import APIRoute

from apviso.client.errors import ApvisoError
from apviso.server.accounts.errors import Declined, NotPermitted, NotThere
from apviso.server.dashboard import rendering
from apviso.server.dashboard.visitors import Forged, SignInNeeded
from apviso.server.errors import DatabaseUnavailable, Refusal

FORGED = "This form came from no page of this dashboard, or from one that was opened before you signed in. Open the page again, and repeat."
TITLES = {403: "Not permitted", 404: "Nothing here", 409: "Not now", 422: "Not understood", 429: "Too fast", 503: "Not now"}
_STATUSES: dict[type[Declined], int] = {NotPermitted: 403, NotThere: 404}
Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class PageRoute(APIRoute):
    """Turns refusals into pages, and those who are not signed in to the door."""

    def get_route_handler(self) -> Handler:
        handle = super().get_route_handler()

        async def answer(request: Request) -> Response:
            try:
                return await handle(request)
            except SignInNeeded:
                return _to_the_door(request)
            except Forged:
                return _sorry(request, 403, FORGED)
            except Declined as error:
                return _sorry(request, _STATUSES.get(type(error), 409), error.message)
            except ApvisoError as error:
                return _sorry(request, error.status or 503, str(error), error.fields and error.fields[0].message)
            except RequestValidationError:
                return _sorry(request, 422, "The address of this page is not complete, or not one of ours.")
            except Refusal as refusal:
                # Whether it is tried again is decided further out, from the answer to the API.
                request.state.may_repeat = isinstance(refusal, DatabaseUnavailable) and refusal.may_repeat
                return _sorry(request, refusal.status, refusal.detail)

        return answer


def _to_the_door(request: Request) -> Response:
    """And back, where the address may be opened again."""
    asked = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    query = f"?{urlencode({'next': asked})}" if request.method == "GET" and asked != "/" else ""
    return RedirectResponse(f"/sign-in{query}", 303)


def _sorry(request: Request, status: int, message: str, detail: Any = None) -> Response:
    title = TITLES.get(status, "That did not work")
    return rendering.page(
        "sorry.html.j2", request, status_code=status, title=title, message=message, detail=detail or "", reference=request.state.request_id
    )


def page_router(prefix: str = "") -> APIRouter:
    return APIRouter(prefix=prefix, route_class=PageRoute, include_in_schema=False, default_response_class=Response)


def safe_next(text: str) -> str:
    """Where to go after signing in: an address of ours, never another host's."""
    is_ours = text.startswith("/") and not text.startswith(("//", "/\\")) and text.isprintable() and "\\" not in text
    return text if is_ours else "/"
