"""Every problem code, reached over HTTP by the situation that it names. A code without a case here fails the last test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx2
import pytest
from starlette.exceptions import HTTPException

from apviso.protocol.tokens import Namespace, new_token
from apviso.protocol.wire import OrganizationId
from apviso.server.errors import every_refusal
from apviso.server.licensing import store as licenses
from apviso.server.settings import Settings
from apviso.server.webhooks.routes import MOST_WEBHOOKS
from tests.server.scans.situations import ENDED, Case, found, logged, queued_scan, until_parked
from tests.server.webhooks.hooks import hook
from tests.support.clock import Clock
from tests.support.control_plane import Plane
from tests.support.people import Organization, Runner, register

ENROLLMENTS_A_MINUTE = 20
PLACES = 1
HOOK = "https://hooks.example.com/apviso"


@pytest.fixture
def settings(settings: Settings) -> Settings:
    # Nobody is asked for names: what needs one finds none.
    nobody = {"dns_servers": ["127.0.0.1:9"], "verification_timeout_seconds": 0.1}
    limits = {"enrollments_per_minute": ENROLLMENTS_A_MINUTE, "max_parked_requests": PLACES, "pdf_reports": False}
    return settings.model_copy(update=limits | nobody)


@dataclass(frozen=True)
class Stage:
    """What a case needs to bring its refusal about."""

    plane: Plane
    acme: Organization
    runner: Runner
    clock: Clock

    async def case(self) -> Case:
        return await queued_scan(self.acme, self.runner)

    async def answer(self, method: str, path: str, token: str | None = None) -> httpx2.Response:
        return await self.plane.call(method, path, token)


@pytest.fixture
def stage(plane: Plane, acme: Organization, runner: Runner, clock: Clock) -> Stage:
    return Stage(plane, acme, runner, clock)


_Reach = Callable[[Stage], Awaitable[httpx2.Response]]
CASES: dict[str, _Reach] = {}


def reaches(code: str) -> Callable[[_Reach], _Reach]:
    def keep(case: _Reach) -> _Reach:
        assert code not in CASES
        CASES[code] = case
        return case

    return keep


# ---- the request itself


@reaches("malformed_json")
async def _(stage: Stage) -> httpx2.Response:
    return await stage.acme.call("POST", "/targets", content="{", headers={"content-type": "application/json"})


@reaches("bad_request")
async def _(stage: Stage) -> httpx2.Response:
    async def declined() -> None:
        raise HTTPException(400, "the framework declines for a reason of its own")

    stage.plane.app.add_api_route("/declined", declined)
    return await stage.answer("GET", "/declined")


@reaches("not_found")
async def _(stage: Stage) -> httpx2.Response:
    return await stage.acme.get("/nothing")


@reaches("method_not_allowed")
async def _(stage: Stage) -> httpx2.Response:
    return await stage.acme.call("PUT", "/targets")


@reaches("body_too_large")
async def _(stage: Stage) -> httpx2.Response:
    return await stage.acme.post("/targets", {"domain": "x" * 1024**2})


@reaches("invalid_fields")
async def _(stage: Stage) -> httpx2.Response:
    return await stage.acme.post("/targets", {})


@reaches("idempotency_key_reused")
async def _(stage: Stage) -> httpx2.Response:
    headers = {"Idempotency-Key": "once"}
    await stage.acme.post("/targets", {"domain": "a.example.com"}, headers=headers)
    return await stage.acme.post("/targets", {"domain": "b.example.com"}, headers=headers)


@reaches("already_issued")
async def _(stage: Stage) -> httpx2.Response:
    headers = {"Idempotency-Key": "once"}
    await stage.acme.post("/runners/enrollment-tokens", {}, headers=headers)
    return await stage.acme.post("/runners/enrollment-tokens", {}, headers=headers)


@reaches("rate_limited")
async def _(stage: Stage) -> httpx2.Response:
    for _ in range(ENROLLMENTS_A_MINUTE):
        await register(stage.acme.client, "nonsense")
    return await register(stage.acme.client, "nonsense")


@reaches("overloaded")
async def _(stage: Stage) -> httpx2.Response:
    async with _waiting(stage.runner):
        await until_parked(stage.acme)
        return await stage.runner.claim()


@reaches("internal_error")
async def _(stage: Stage) -> httpx2.Response:
    async def broken() -> None:
        raise ZeroDivisionError

    stage.plane.app.add_api_route("/broken", broken)
    return await stage.answer("GET", "/broken")


@reaches("database_unavailable")
async def _(stage: Stage) -> httpx2.Response:
    async with stage.plane.resources.database.writing() as work:
        await work.db.exec_driver_sql("ALTER TABLE audit_events RENAME TO taken_away")
    return await stage.acme.get("/audit-events")


# ---- who is calling


@reaches("credential_missing")
async def _(stage: Stage) -> httpx2.Response:
    return await stage.answer("GET", "/api/v1/runners")


@reaches("credential_invalid")
async def _(stage: Stage) -> httpx2.Response:
    return await stage.answer("GET", "/api/v1/runners", new_token(Namespace.API_KEY).reveal())


@reaches("wrong_credential")
async def _(stage: Stage) -> httpx2.Response:
    return await stage.answer("GET", "/api/v1/runners", stage.runner.token)


@reaches("insufficient_scope")
async def _(stage: Stage) -> httpx2.Response:
    return await (await stage.acme.limited_to("scans:read")).get("/runners")


@reaches("runner_revoked")
async def _(stage: Stage) -> httpx2.Response:
    await stage.acme.delete(f"/runners/{stage.runner.id}")
    return await stage.runner.beat()


@reaches("api_key_not_found")
async def _(stage: Stage) -> httpx2.Response:
    return await stage.acme.get("/api-keys/unknown")


@reaches("last_admin_key")
async def _(stage: Stage) -> httpx2.Response:
    own = (await stage.acme.get("/api-keys")).json()["apiKeys"][0]["id"]
    return await stage.acme.delete(f"/api-keys/{own}")


# ---- license and targets


@reaches("license_inactive")
async def _(stage: Stage) -> httpx2.Response:
    async with stage.plane.resources.database.writing() as work:
        await licenses.install(work, OrganizationId(stage.acme.id), "not signed by anyone")
    return await register(stage.acme.client, await stage.acme.enrollment_token())


@reaches("license_limit_reached")
async def _(stage: Stage) -> httpx2.Response:
    for number in range(25):
        await stage.acme.target(f"localhost:{4000 + number}")
    return await stage.acme.post("/targets", {"domain": "localhost:5000", "visibility": "localhost"})


@reaches("visibility_not_allowed")
async def _(stage: Stage) -> httpx2.Response:
    return await stage.acme.post("/targets", {"domain": "shop.example.com", "visibility": "partner_client"})


@reaches("target_unverified")
async def _(stage: Stage) -> httpx2.Response:
    target = await stage.acme.target("shop.example.com", "public")
    return await stage.acme.post("/scans", {"targetId": target["id"]})


@reaches("verification_failed")
async def _(stage: Stage) -> httpx2.Response:
    target = await stage.acme.target("shop.example.com", "public")
    return await stage.acme.post(f"/targets/{target['id']}/verify", {"method": "dns_txt"})


@reaches("verification_not_needed")
async def _(stage: Stage) -> httpx2.Response:
    target = await stage.acme.target()
    return await stage.acme.post(f"/targets/{target['id']}/verify", {"method": "file"})


@reaches("target_exists")
async def _(stage: Stage) -> httpx2.Response:
    await stage.acme.target("shop.example.com", "public")
    return await stage.acme.post("/targets", {"domain": "shop.example.com"})


@reaches("target_has_scans")
async def _(stage: Stage) -> httpx2.Response:
    case = await stage.case()
    return await stage.acme.delete(f"/targets/{case.target['id']}")


@reaches("target_not_found")
async def _(stage: Stage) -> httpx2.Response:
    return await stage.acme.get("/targets/unknown")


# ---- runners and their enrollment


@reaches("runner_not_found")
async def _(stage: Stage) -> httpx2.Response:
    return await stage.acme.get("/runners/unknown")


@reaches("runner_is_revoked")
async def _(stage: Stage) -> httpx2.Response:
    await stage.acme.delete(f"/runners/{stage.runner.id}")
    return await stage.acme.post(f"/runners/{stage.runner.id}/pause")


@reaches("admin_state_held")
async def _(stage: Stage) -> httpx2.Response:
    await stage.acme.post(f"/runners/{stage.runner.id}/pause")
    return await stage.runner.call("POST", "/resume")


@reaches("enrollment_token_not_found")
async def _(stage: Stage) -> httpx2.Response:
    return await stage.acme.delete("/runners/enrollment-tokens/a1b2c3d4e5f6")


@reaches("enrollment_token_invalid")
async def _(stage: Stage) -> httpx2.Response:
    return await register(stage.acme.client, new_token(Namespace.ENROLLMENT).reveal())


@reaches("enrollment_token_used")
async def _(stage: Stage) -> httpx2.Response:
    token = await stage.acme.enrollment_token()
    await register(stage.acme.client, token)
    return await register(stage.acme.client, token)


@reaches("enrollment_token_expired")
async def _(stage: Stage) -> httpx2.Response:
    token = await stage.acme.enrollment_token()
    stage.clock.pass_by(minutes=30)
    return await register(stage.acme.client, token)


@reaches("enrollment_token_revoked")
async def _(stage: Stage) -> httpx2.Response:
    token = await stage.acme.enrollment_token()
    await stage.acme.delete(f"/runners/enrollment-tokens/{token.split('_')[1]}")
    return await register(stage.acme.client, token)


# ---- webhooks


@reaches("webhook_not_found")
async def _(stage: Stage) -> httpx2.Response:
    return await stage.acme.get("/webhooks/unknown")


@reaches("webhook_delivery_not_found")
async def _(stage: Stage) -> httpx2.Response:
    webhook = await hook(stage.acme, HOOK)
    return await stage.acme.post(f"/webhooks/{webhook.id}/deliveries/unknown/replay")


@reaches("webhook_disabled")
async def _(stage: Stage) -> httpx2.Response:
    webhook = await hook(stage.acme, HOOK, enabled=False)
    return await stage.acme.post(f"/webhooks/{webhook.id}/deliveries/unknown/replay")


@reaches("webhook_limit_reached")
async def _(stage: Stage) -> httpx2.Response:
    for _ in range(MOST_WEBHOOKS):
        await hook(stage.acme, HOOK)
    return await stage.acme.post("/webhooks", {"url": HOOK, "events": ["*"]})


# ---- scans, jobs and findings


@reaches("scan_not_found")
async def _(stage: Stage) -> httpx2.Response:
    return await stage.acme.get("/scans/unknown")


@reaches("schedule_not_found")
async def _(stage: Stage) -> httpx2.Response:
    return await stage.acme.get("/schedules/unknown")


@reaches("job_not_found")
async def _(stage: Stage) -> httpx2.Response:
    return await stage.runner.call("POST", "/jobs/unknown/lease", {"attempt": 1})


@reaches("finding_not_found")
async def _(stage: Stage) -> httpx2.Response:
    return await stage.acme.get("/findings/unknown")


@reaches("runner_not_ready")
async def _(stage: Stage) -> httpx2.Response:
    await stage.acme.post(f"/runners/{stage.runner.id}/pause")
    return await stage.acme.post("/scans", {"targetId": (await stage.acme.target())["id"]})


@reaches("scan_already_active")
async def _(stage: Stage) -> httpx2.Response:
    case = await stage.case()
    return await stage.acme.post("/scans", {"targetId": case.target["id"]})


@reaches("scan_already_ended")
async def _(stage: Stage) -> httpx2.Response:
    case = await stage.case()
    await stage.runner.run_whole(await stage.runner.claimed())
    return await stage.acme.post(f"/scans/{case.scan_id}/cancel")


@reaches("pdf_unavailable")
async def _(stage: Stage) -> httpx2.Response:
    case = await stage.case()
    await stage.runner.run_whole(await stage.runner.claimed())
    return await stage.acme.get(f"/scans/{case.scan_id}/report.pdf")


@reaches("report_not_made")
async def _(stage: Stage) -> httpx2.Response:
    case = await stage.case()
    await stage.runner.run_whole(await stage.runner.claimed(), found(1))
    async with stage.plane.resources.database.writing() as work:
        await work.db.exec_driver_sql("UPDATE sightings SET content = '{}'")
        await work.db.exec_driver_sql("UPDATE scans SET report_failures = 4")
    return await stage.acme.get(f"/scans/{case.scan_id}/report")


@reaches("scan_not_started")
async def _(stage: Stage) -> httpx2.Response:
    await stage.case()
    return await stage.runner.on_job(await stage.runner.claimed(), "finish", **ENDED)


@reaches("scan_already_started")
async def _(stage: Stage) -> httpx2.Response:
    job = await (await stage.case()).running()
    return await stage.runner.on_job(job, "preflight", ok=False)


@reaches("lease_lost")
async def _(stage: Stage) -> httpx2.Response:
    await stage.case()
    job = await stage.runner.claimed()
    await stage.runner.run_whole(job)
    return await stage.runner.on_job(job, "lease")


@reaches("sequence_gap")
async def _(stage: Stage) -> httpx2.Response:
    job = await (await stage.case()).running()
    return await stage.runner.on_job(job, "events", events=[logged(2)])


@reaches("events_missing")
async def _(stage: Stage) -> httpx2.Response:
    job = await (await stage.case()).running()
    return await stage.runner.on_job(job, "finish", **{**ENDED, "lastSeq": 1})


@asynccontextmanager
async def _waiting(runner: Runner) -> AsyncIterator[None]:
    """A long poll is held open meanwhile."""
    async with asyncio.TaskGroup() as group:
        held = group.create_task(runner.claim(wait=30))
        yield
        held.cancel()


@pytest.mark.parametrize("refusal", every_refusal(), ids=lambda refusal: refusal.code)
async def test_problem_code_is_reached_and_told_as_documented(refusal: type, stage: Stage) -> None:
    (kind,) = [kind for kind in every_refusal() if kind is refusal]

    answer = await CASES[kind.code](stage)

    body = answer.json()
    assert (answer.status_code, body["code"]) == (kind.status, kind.code), body
    assert answer.headers["content-type"] == "application/problem+json"
    assert body["type"] == f"/problems/{kind.code}"
    assert (body["title"], body["status"], body["retryable"]) == (kind.message, kind.status, kind.retryable)
    assert body["error"] == body["detail"] != ""
    assert body["requestId"] == answer.headers["x-request-id"]
    assert ("retry-after" in answer.headers) == (kind.status in (429, 503))


def test_problem_codes_and_cases_match_one_to_one() -> None:
    assert set(CASES) == {kind.code for kind in every_refusal()}
