"""Who is calling. Routes ask for a noun (`RunnersReader`, `CallingRunner`) and cannot reach another organization's rows."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Annotated

from fastapi import Depends, Header, Request
from fastapi.security import APIKeyHeader, HTTPBearer

from apviso.protocol.states import Scope
from apviso.protocol.tokens import Namespace, Token, parse_token
from apviso.protocol.wire import JobId, OrganizationId, RunnerId
from apviso.server.correlation import belongs_to
from apviso.server.db import credentials
from apviso.server.db.engine import Work
from apviso.server.errors import CredentialInvalid, CredentialMissing, InsufficientScope, Refusal, RunnerRevoked, WrongCredential
from apviso.server.resources import Plant, Resources
from apviso.server.signals import runner_topic

# `last seen` of a key or runner is written at most this often by calls that are not heartbeats: reads stay reads.
TOUCH_EVERY = timedelta(seconds=1)
KEY_TOUCH_EVERY = timedelta(minutes=1)
# Where the dashboard, which calls the API within this process, leaves who is asking. Nothing that comes through a socket gets there.
SIGNED_IN = "signed_in"


@dataclass(frozen=True)
class Caller:
    """An organization's API key at work, or somebody who is signed in to the dashboard."""

    organization_id: OrganizationId
    key_id: str
    actor: str
    scopes: frozenset[Scope]
    request_id: str
    # Of somebody who is signed in: whether they still are.
    still_there: Callable[[Work], Awaitable[bool]] | None = field(default=None, repr=False, compare=False)

    def may(self, needed: Scope) -> bool:
        return any(scope.grants(needed) for scope in self.scopes)


@dataclass(frozen=True)
class DaemonCaller:
    """An enrolled runner at work. With a job's token only that job is open."""

    id: RunnerId
    organization_id: OrganizationId
    name: str
    token: Token
    job_id: JobId | None
    request_id: str

    @property
    def actor(self) -> str:
        return f"runner:{self.id}"


_key_header = APIKeyHeader(name="X-API-Key", auto_error=False, description="`apvk_...`", scheme_name="ApiKey")
_bearer = HTTPBearer(auto_error=False, description="`apvk_...`", scheme_name="ApiKeyBearer")
_runner_bearer = HTTPBearer(auto_error=False, description="`apvr_...`", scheme_name="RunnerToken")


def _presented(header: str | None, authorization: str) -> Token:
    scheme, _, bearer = authorization.partition(" ")
    text = header or (bearer if scheme.lower() == "bearer" else "")
    if not text.strip():
        raise CredentialMissing
    token = parse_token(text)
    if token is None:
        raise CredentialInvalid
    return token


async def _calling_key(
    request: Request,
    plant: Plant,
    key: Annotated[str | None, Depends(_key_header)],
    _: Annotated[object, Depends(_bearer)],
    authorization: Annotated[str, Header(include_in_schema=False)] = "",
) -> Caller:
    signed_in = request.scope["state"].get(SIGNED_IN)
    if signed_in is not None:
        assert isinstance(signed_in, Caller)
        return signed_in
    token = _presented(key, authorization)
    if token.namespace is not Namespace.API_KEY:
        raise WrongCredential("This is not an API key (apvk_...); runner and enrollment tokens do not open the public API.")
    known = await _known_key(plant, token)
    request.state.rate_headers = plant.key_throttle.take(known.id).headers()
    await _record_use(plant, known)
    belongs_to(organization_id=known.organization_id, key_id=known.id)
    return Caller(known.organization_id, known.id, known.prefix, known.scopes, request.state.request_id)


async def _known_key(plant: Resources, token: Token) -> credentials.KnownKey:
    """Whose the token is, as it was read within the last second or is read now. Raises CredentialInvalid."""
    known = _believed_key(plant, token)
    # A wrong secret is looked for as well: it costs the same whether somebody has such a key or nobody.
    moment, is_read = plant.keys.moment, known is None or not token.matches(known.digest)
    if is_read:
        async with plant.database.reading(is_brief=True) as work:
            known = await credentials.find_api_key(work, token.prefix)
    if known is None or not known.is_in_time(plant.database.clock()) or not token.matches(known.digest):
        raise CredentialInvalid
    if is_read:
        plant.keys.believe(token.prefix, known, moment)
    return known


def recognized(plant: Resources, header: str, authorization: str, needed: Scope) -> credentials.KnownKey | None:
    """The key of a call that may do this, where nothing has to be read or written for it first; None for every doubt."""
    try:
        token = _presented(header, authorization)
    except Refusal:
        return None
    known, now = _believed_key(plant, token), plant.database.clock()
    if known is None or token.namespace is not Namespace.API_KEY or not known.is_in_time(now) or not token.matches(known.digest):
        return None
    is_open = any(scope.grants(needed) for scope in known.scopes)
    return known if is_open and not _has_new_use(known, now) else None


def _believed_key(plant: Resources, token: Token) -> credentials.KnownKey | None:
    return None if plant.signals.is_deaf else plant.keys.find(token.prefix)


def _has_new_use(known: credentials.KnownKey, now: datetime) -> bool:
    return known.last_used_at is None or now - known.last_used_at > KEY_TOUCH_EVERY


async def _record_use(plant: Resources, known: credentials.KnownKey) -> None:
    now = plant.database.clock()
    if _has_new_use(known, now):
        async with plant.database.writing() as work:
            await credentials.touch_api_key(work, known.id)
        plant.keys.amend(known.prefix, known, replace(known, last_used_at=now))


async def is_still_valid(work: Work, caller: Caller) -> bool:
    """Whether the key of a request that is held open has been neither revoked nor run out since, or somebody is still signed in."""
    if caller.still_there is not None:
        return await caller.still_there(work)
    known = await credentials.find_api_key(work, caller.actor)
    return known is not None and known.id == caller.key_id


AnyKey = Annotated[Caller, Depends(_calling_key)]


# What each dependency asks of a caller, by the dependency: `admission` reads it from the routes.
CREDENTIALS: dict[object, tuple[str, ...]] = {_calling_key: ("API key",)}
SCOPES: dict[object, Scope] = {}


def _with_scope(needed: Scope) -> Callable[[Caller], Awaitable[Caller]]:
    async def check(caller: AnyKey) -> Caller:
        if not caller.may(needed):
            raise InsufficientScope(f"This call needs the scope {needed}; the key has {', '.join(sorted(caller.scopes))}.", required=needed)
        return caller

    SCOPES[check] = needed
    return check


RunnersReader = Annotated[Caller, Depends(_with_scope(Scope.RUNNERS_READ))]
RunnersWriter = Annotated[Caller, Depends(_with_scope(Scope.RUNNERS_WRITE))]
TargetsReader = Annotated[Caller, Depends(_with_scope(Scope.TARGETS_READ))]
TargetsWriter = Annotated[Caller, Depends(_with_scope(Scope.TARGETS_WRITE))]
ScansReader = Annotated[Caller, Depends(_with_scope(Scope.SCANS_READ))]
ScansWriter = Annotated[Caller, Depends(_with_scope(Scope.SCANS_WRITE))]
FindingsReader = Annotated[Caller, Depends(_with_scope(Scope.FINDINGS_READ))]
FindingsWriter = Annotated[Caller, Depends(_with_scope(Scope.FINDINGS_WRITE))]
Administrator = Annotated[Caller, Depends(_with_scope(Scope.ADMIN))]


async def _daemon(request: Request, plant: Resources, token: Token) -> DaemonCaller:
    find = credentials.find_job_holder if token.namespace is Namespace.JOB else credentials.find_runner
    async with plant.database.reading(is_brief=True) as work:
        known = await find(work, token.prefix)
        now = work.now
    if known is None or not token.matches(known.digest):
        raise CredentialInvalid
    belongs_to(organization_id=known.organization_id, runner_id=known.id, job_id=known.job_id)
    if known.revoked_at is not None and not _says_farewell(request, known):
        raise RunnerRevoked.of(is_retired=known.retired_at is not None)
    request.state.rate_headers = plant.daemon_throttle.take(known.id).headers()
    is_fresh = known.last_contact_at is not None and now - known.last_contact_at <= TOUCH_EVERY
    if known.first_used_at is None or known.goodbye_at is not None or not is_fresh:
        await _record_contact(plant, known, token)
    return DaemonCaller(known.id, known.organization_id, known.name, token, known.job_id, request.state.request_id)


def _says_farewell(request: Request, known: credentials.KnownRunner) -> bool:
    """An ephemeral runner is retired by its finish, whose answer it may have lost; that and its goodbye are still heard."""
    return known.retired_at is not None and request.url.path.endswith(("/finish", "/goodbye"))


async def _record_contact(plant: Resources, known: credentials.KnownRunner, token: Token) -> None:
    async with plant.database.writing() as work:
        await credentials.record_contact(work, known.organization_id, known.id)
        if known.first_used_at is None:
            await credentials.record_first_use(work, known.id, token.prefix)
            await credentials.drop_older_tokens(work, known.id, token.prefix)
            work.hints.add(runner_topic(known.id))


async def _calling_runner(
    request: Request,
    plant: Plant,
    _: Annotated[object, Depends(_runner_bearer)],
    authorization: Annotated[str, Header(include_in_schema=False)] = "",
) -> DaemonCaller:
    token = _presented(None, authorization)
    if token.namespace is not Namespace.RUNNER:
        raise WrongCredential("This is not a runner token (apvr_...); API keys and enrollment tokens do not open the daemon API.")
    return await _daemon(request, plant, token)


async def _calling_job_holder(
    request: Request,
    plant: Plant,
    _: Annotated[object, Depends(_runner_bearer)],
    authorization: Annotated[str, Header(include_in_schema=False)] = "",
) -> DaemonCaller:
    token = _presented(None, authorization)
    if token.namespace not in (Namespace.RUNNER, Namespace.JOB):
        raise WrongCredential("This is neither a runner token (apvr_...) nor a job token (apvj_...).")
    caller = await _daemon(request, plant, token)
    if caller.job_id is not None and caller.job_id != request.path_params.get("id"):
        raise WrongCredential("This job token belongs to another job.")
    return caller


CREDENTIALS |= {_calling_runner: ("runner token",), _calling_job_holder: ("runner token", "job token")}
CallingRunner = Annotated[DaemonCaller, Depends(_calling_runner)]
JobHolder = Annotated[DaemonCaller, Depends(_calling_job_holder)]
