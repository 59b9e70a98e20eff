"""`POST /api/runner/register`: an enrollment token becomes a runner with a token of its own, once, whatever gets lost on the way."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import uuid_utils
from fastapi import APIRouter, Body, Request

from apviso.protocol.daemon import Registered, RegisteredRunner, Registration
from apviso.protocol.tokens import Namespace, Token, new_token, parse_token
from apviso.protocol.wire import RunnerId
from apviso.server.audit import store as audit
from apviso.server.correlation import belongs_to
from apviso.server.db.engine import Work
from apviso.server.enrollment import store
from apviso.server.enrollment.exchange import Exchange, KnownEnrollment, digest_of, judge
from apviso.server.errors import (
    BodyTooLarge,
    EnrollmentTokenExpired,
    EnrollmentTokenInvalid,
    EnrollmentTokenRevoked,
    EnrollmentTokenUsed,
    InvalidFields,
    LicenseInactive,
    LicenseLimitReached,
    MalformedJson,
    RateLimited,
    Refusal,
    RunnerNotFound,
    responses,
)
from apviso.server.licensing.current import current_license
from apviso.server.metrics import ENROLLMENTS
from apviso.server.organizations import store as organizations
from apviso.server.resources import Plant, Resources, Writing
from apviso.server.runners import store as runners
from apviso.server.runners.watch import observe, policy_of
from apviso.server.stream import store as stream

router = APIRouter(prefix="/api/runner", tags=["daemon"])

EXAMPLE = {
    "enrollmentToken": "apve_a1b2c3d4e5f6_redacted",
    "exchangeKey": "9f2c7a3e5d1b48f0a6c4",
    "name": "prod-runner-1",
    "version": "0.1.0",
    "protocolVersion": 1,
    "os": "linux",
    "arch": "x86_64",
    "containerEngine": "docker",
    "configuredConcurrency": 1,
    "providerState": {"modelProvider": "openai-codex", "embeddingProvider": "local"},
    "capabilities": {"localProviderSecrets": True, "localTargetAuthConfig": True},
    "labels": ["datacenter-1"],
}


@router.post(
    "/register",
    status_code=201,
    responses=responses(
        MalformedJson,
        EnrollmentTokenInvalid,
        LicenseInactive,
        LicenseLimitReached,
        EnrollmentTokenUsed,
        EnrollmentTokenExpired,
        EnrollmentTokenRevoked,
        BodyTooLarge,
        InvalidFields,
        RateLimited,
    ),
)
async def register(request: Request, told: Annotated[Registration, Body(examples=[EXAMPLE])], plant: Plant, work: Writing) -> Registered:
    """Exchange an enrollment token for a runner token.

    A repeat with the same `exchangeKey` within 10 minutes gives the same runner a fresh token: a lost answer burns nothing.
    """
    client = request.client.host if request.client else "unknown"
    with _refusals_counted():
        request.state.rate_headers = plant.enrollment_throttle.take(client).headers()
        known = await _verified(work, told.enrollment_token)
        exchange_key = digest_of(told.exchange_key)
        result = judge(known, exchange_key, work.now, plant.settings.timers.exchange_retry_window)
        if result is Exchange.REPEAT:
            runner_id, name, token = await _repeat(work, known)
        else:
            await _within_license(work, plant, known)
            runner_id, name, token = await _enroll(work, plant, known, told, exchange_key, request.state.request_id)
    belongs_to(organization_id=known.organization_id, runner_id=runner_id)
    work.afterwards.append(ENROLLMENTS.labels("repeated" if result is Exchange.REPEAT else "enrolled").inc)
    return Registered(
        token=token.reveal(),
        runner=RegisteredRunner(id=runner_id, name=name),
        heartbeat_interval_ms=plant.pace.interval_ms,
        server_time=work.now,
    )


@contextmanager
def _refusals_counted() -> Iterator[None]:
    try:
        yield
    except Refusal as refusal:
        ENROLLMENTS.labels(refusal.code).inc()
        raise


async def _verified(work: Work, text: str) -> KnownEnrollment:
    """What is wrong with a token is told only to whoever holds its secret."""
    token = parse_token(text)
    known = await store.find(work, token.prefix) if token is not None and token.namespace is Namespace.ENROLLMENT else None
    if token is None or known is None or not token.matches(known.digest):
        raise EnrollmentTokenInvalid
    return known


async def _within_license(work: Work, plant: Resources, known: KnownEnrollment) -> None:
    await organizations.lock(work, known.organization_id)
    license_ = await current_license(work, plant, known.organization_id)
    if not license_.can_register_runner:
        raise LicenseInactive(f"The license is {license_.license_state}: it permits no new runner. The enrollment token is still good.")
    registered = await runners.count_registered(work, known.organization_id)
    if registered >= license_.runner_limit:
        raise LicenseLimitReached(
            f"{registered} of {license_.runner_limit} runners are registered; revoke one or extend the license. "
            "The enrollment token is still good.",
            limit=license_.runner_limit,
            observed=registered,
        )


async def _enroll(
    work: Work, plant: Resources, known: KnownEnrollment, told: Registration, exchange_key: str | None, request_id: str
) -> tuple[RunnerId, str, Token]:
    runner_id, token = RunnerId(str(uuid_utils.uuid7())), new_token(Namespace.RUNNER)
    name = told.name or known.name or f"runner-{token.prefix[:6]}"
    labels = list(dict.fromkeys([*known.labels, *told.labels]))
    if not await store.consume(work, known.prefix, runner_id, exchange_key):
        raise EnrollmentTokenUsed
    await runners.add(work, known.organization_id, runner_id, told, name, labels, known.ephemeral, token)
    await runners.add_token(work, runner_id, token)
    await observe(work, await runners.get(work, known.organization_id, runner_id), policy_of(plant))
    actor = f"enrollment:{known.prefix}"
    await audit.record(work, known.organization_id, actor, "runner.enrolled", ("runner", runner_id), request_id, name=name)
    stream.publish(work, known.organization_id, "runner.enrolled", runnerId=runner_id, name=name)
    return runner_id, name, token


async def _repeat(work: Work, known: KnownEnrollment) -> tuple[RunnerId, str, Token]:
    """The answer was lost: the same runner gets a fresh token, and whatever was issued before dies."""
    if known.runner_id is None:
        raise EnrollmentTokenUsed
    try:
        runner = await runners.get(work, known.organization_id, known.runner_id)
    except RunnerNotFound as error:
        raise EnrollmentTokenUsed from error
    if runner.revoked_at is not None:
        raise EnrollmentTokenUsed("The runner of this enrollment token was revoked; create a new token.")
    token = new_token(Namespace.RUNNER)
    await runners.drop_tokens(work, runner.id)
    await runners.add_token(work, runner.id, token)
    await runners.edit(work, known.organization_id, runner.id, token_prefix=token.prefix)
    return runner.id, runner.name, token
