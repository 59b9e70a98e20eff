"""Who looks at a page. A page asks for a `Visitor`, a form's address for a `Post`, and neither can be had without a session."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, Any
from urllib.parse import quote, urlsplit

from fastapi import Depends, Request
from fastapi.responses import RedirectResponse, Response
from starlette.datastructures import Headers

from apviso.protocol.tokens import Token
from apviso.server.access import CREDENTIALS, Caller
from apviso.server.accounts import signing_in, store
from apviso.server.accounts.errors import NotPermitted
from apviso.server.accounts.roles import Role, scopes_of
from apviso.server.accounts.signing_in import Browser
from apviso.server.accounts.store import KnownSession, Session, User
from apviso.server.correlation import belongs_to
from apviso.server.dashboard import rendering
from apviso.server.dashboard.forms import Form
from apviso.server.dashboard.inside import Inside
from apviso.server.db.engine import Work
from apviso.server.resources import Plant, Resources

SAID_COOKIE = "apviso_said"
SAID_SECONDS = 60
LONGEST_SAYING = 600
ERRAND_SECONDS = 600


class SignInNeeded(Exception):
    """Nobody is signed in with this browser, or no longer."""


class Forged(Exception):
    """The form was not on a page of ours, or on one of another session."""


@dataclass(frozen=True)
class Visitor:
    """Somebody who is signed in, with what they may do and the API as they may use it."""

    request: Request
    plant: Resources
    user: User
    session: Session
    organization: str
    caller: Caller
    csrf: str = field(repr=False)

    @property
    def api(self) -> Inside:
        return Inside(self.request.app, self.caller)

    @property
    def may_work(self) -> bool:
        """Whether buttons that change something are of any use."""
        return self.user.role is not Role.VIEWER

    @property
    def may_administer(self) -> bool:
        return self.user.role in (Role.ADMIN, Role.OWNER)

    @property
    def browser(self) -> Browser:
        return browser_of(self.request)

    def page(self, template: str, *, status_code: int = 200, live: str = "", **values: Any) -> Response:
        """The page. `live` names the kinds of events (`runner scan`) after which it is fetched anew by itself."""
        said = self.request.cookies.get(SAID_COOKIE, "")[:LONGEST_SAYING]
        answer = rendering.page(
            template, self.request, status_code=status_code, live=live, visitor=self, said=rendering.unquoted(said), **values
        )
        if said:
            answer.delete_cookie(SAID_COOKIE)
        return answer


@dataclass(frozen=True)
class Post:
    """A form that somebody has sent from one of our pages."""

    visitor: Visitor
    form: Form

    def go(self, address: str, said: str = "") -> Response:
        """On to a page, which says once what was done."""
        answer = RedirectResponse(address, 303)
        if said:
            text = quote(said[: LONGEST_SAYING // 3], safe="")
            answer.set_cookie(SAID_COOKIE, text, max_age=SAID_SECONDS, httponly=True, samesite="lax", secure=_is_secure(self.visitor.plant))
        return answer


def browser_of(request: Request) -> Browser:
    return Browser(request.client.host if request.client else "", request.headers.get("user-agent", ""), request.state.request_id)


def _is_secure(plant: Resources) -> bool:
    return plant.settings.public_url.startswith("https://")


def session_cookie(plant: Resources) -> str:
    """With TLS a name that no other host of the domain can set."""
    return "__Host-apviso_session" if _is_secure(plant) else "apviso_session"


def let_in(answer: Response, plant: Resources, token: Token) -> None:
    """Leave the session's token with the browser. It also ends here at the latest when the session ends there."""
    seconds = int(plant.settings.session_lifetime.total_seconds())
    answer.set_cookie(
        session_cookie(plant), token.reveal(), max_age=seconds, path="/", httponly=True, samesite="lax", secure=_is_secure(plant)
    )


def let_out(answer: Response, plant: Resources) -> None:
    answer.delete_cookie(session_cookie(plant), path="/", secure=_is_secure(plant), httponly=True, samesite="lax")


def errand_cookie(plant: Resources) -> str:
    return "__Host-apviso_errand" if _is_secure(plant) else "apviso_errand"


def keep_errand(answer: Response, plant: Resources, text: str) -> None:
    """While somebody is at the provider of identities."""
    answer.set_cookie(errand_cookie(plant), text, max_age=ERRAND_SECONDS, path="/", httponly=True, samesite="lax", secure=_is_secure(plant))


def drop_errand(answer: Response, plant: Resources) -> None:
    answer.delete_cookie(errand_cookie(plant), path="/", secure=_is_secure(plant), httponly=True, samesite="lax")


def address_of(request: Request, plant: Resources) -> str:
    """Where people reach this server: as the operator says, else as this browser did."""
    return plant.settings.public_url or f"{request.url.scheme}://{request.headers.get('host', '')}"


async def maybe_visitor(request: Request, plant: Plant) -> Visitor | None:
    """Somebody who is signed in, or nobody. Raises RateLimited."""
    text = request.cookies.get(session_cookie(plant), "")
    if not text:
        return None
    async with plant.database.reading() as work:
        known = await signing_in.find_session(work, plant, text)
        now = work.now
    if known is None:
        return None
    plant.page_throttle.take(known.session.id)
    if now - known.session.last_seen_at > store.TOUCH_EVERY:
        async with plant.database.writing() as work:
            await store.touch_session(work, known.session.id)
    user = known.user
    belongs_to(organization_id=user.organization_id, key_id=known.session.id)
    caller = Caller(
        user.organization_id,
        known.session.id,
        user.actor,
        scopes_of(user.role),
        request.state.request_id,
        partial(_is_still_there, plant=plant, text=text, role=user.role),
    )
    return Visitor(request, plant, user, known.session, known.organization, caller, _csrf(known, text))


async def _is_still_there(work: Work, plant: Resources, text: str, role: Role) -> bool:
    known = await signing_in.find_session(work, plant, text)
    return known is not None and known.user.role is role


def _csrf(known: KnownSession, text: str) -> str:
    """Only our pages of this session know it: it is made from the session's token, which no script can read."""
    return hmac.digest(text.encode(), f"form:{known.session.id}".encode(), hashlib.sha256).hex()


MaybeVisiting = Annotated[Visitor | None, Depends(maybe_visitor)]


async def _visitor(visitor: MaybeVisiting) -> Visitor:
    if visitor is None:
        raise SignInNeeded
    return visitor


CREDENTIALS[_visitor] = ("session",)
Visiting = Annotated[Visitor, Depends(_visitor)]


def _check_may_work(visitor: Visitor) -> None:
    if not visitor.may_work:
        raise NotPermitted("A viewer looks at everything and changes nothing. Ask an admin for another role.")


async def _worker(visitor: Visiting) -> Visitor:
    _check_may_work(visitor)
    return visitor


# Of forms and questions: whoever may not send one does not fill it in.
Working = Annotated[Visitor, Depends(_worker)]


async def _own_post(request: Request, visitor: Visiting) -> Post:
    check_origin(request.headers)
    form = Form(await request.body())
    if not hmac.compare_digest(form.raw("csrf").encode(), visitor.csrf.encode()):
        raise Forged
    return Post(visitor, form)


# What everybody may do, to themselves.
OwnPosted = Annotated[Post, Depends(_own_post)]


async def _post(posted: OwnPosted) -> Post:
    # The API refuses each change by its scope. This is said before anything is read for it, and also where a page forgets to ask.
    _check_may_work(posted.visitor)
    return posted


Posted = Annotated[Post, Depends(_post)]


async def _anonymous_form(request: Request) -> Form:
    check_origin(request.headers)
    return Form(await request.body())


# Of somebody who is not signed in yet: there is no session whose token could be in the form.
AnonymousForm = Annotated[Form, Depends(_anonymous_form)]


def check_origin(headers: Headers) -> None:
    """Whether a browser says that the form was on a page of ours. Raises Forged."""
    site = headers.get("sec-fetch-site")
    if site is not None:
        if site not in ("same-origin", "none"):
            raise Forged
        return
    origin = headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != headers.get("host", ""):
        raise Forged
