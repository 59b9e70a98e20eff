"""Composition root: settings, database, layers and the whole route list on one page."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, cast

from fastapi import FastAPI
from fastapi.middleware import Middleware
from starlette.routing import BaseRoute
from starlette.types import Receive, Scope, Send

from apviso import __version__
from apviso.protocol.wire import OrganizationId, RunnerId
from apviso.server import fastlane, health, housekeeping, openapi, problems, tracing
from apviso.server.accounts.provider import Provider
from apviso.server.at_once import AtOnce
from apviso.server.audit import routes as audit
from apviso.server.believed import Believed
from apviso.server.dashboard.pages import ROUTERS as PAGES
from apviso.server.db.census import Census
from apviso.server.db.credentials import KnownKey
from apviso.server.db.engine import Database
from apviso.server.db.replica import Replica
from apviso.server.db.roll_call import RollCall
from apviso.server.db.upgrade import make_current
from apviso.server.enrollment import daemon_routes as enrollment_daemon
from apviso.server.enrollment import routes as enrollment
from apviso.server.fastlane import FastLane
from apviso.server.findings import daemon_routes as findings_daemon
from apviso.server.findings import routes as findings
from apviso.server.licensing import routes as licensing
from apviso.server.listlane import ListLane
from apviso.server.memory import Memory
from apviso.server.metrics import Flushes
from apviso.server.organizations import routes as organizations
from apviso.server.organizations import switch_routes as switches
from apviso.server.pace import Pace
from apviso.server.parking import Parking
from apviso.server.passwords import Passwords
from apviso.server.readiness import routes as readiness
from apviso.server.reports import duties as report_duties
from apviso.server.reports import routes as reports
from apviso.server.resources import Resources
from apviso.server.runners import daemon_routes as runners_daemon
from apviso.server.runners import host_routes as runners_host
from apviso.server.runners import routes as runners
from apviso.server.scans import daemon_routes as scans_daemon
from apviso.server.scans import dispatching, rechecks, release_routes
from apviso.server.scans import routes as scans
from apviso.server.schedules import routes as schedules
from apviso.server.settings import Settings
from apviso.server.signals import Signals
from apviso.server.snapshots import Snapshots
from apviso.server.stream import routes as stream
from apviso.server.targets import daemon_routes as targets_daemon
from apviso.server.targets import routes as targets
from apviso.server.throttle import Throttle
from apviso.server.timekeeping import Timekeeper, boot_seconds
from apviso.server.typesetting.process import Typesetter
from apviso.server.vault import open_vault
from apviso.server.verification import routes as verification
from apviso.server.waiting import Waiting
from apviso.server.web import AnotherTry, BodyLimit, Door, EntityTags, HeadAsGet, LastResort, Named, Readable, RequestContext, Turnstile
from apviso.server.webhooks import posting
from apviso.server.webhooks import routes as webhooks

ROUTERS = (
    health.router,
    openapi.router,
    readiness.router,
    enrollment.router,
    release_routes.router,
    runners.router,
    targets.router,
    verification.router,
    scans.router,
    findings.router,
    reports.router,
    schedules.router,
    licensing.router,
    organizations.router,
    switches.router,
    audit.router,
    stream.router,
    webhooks.router,
    enrollment_daemon.router,
    runners_daemon.router,
    runners_host.router,
    scans_daemon.router,
    findings_daemon.router,
    targets_daemon.router,
    *PAGES,
)


class ControlPlane(FastAPI):
    """The documented application, and the fast lane before it."""

    has_fast_lane = True
    # A list that the framework has not seen is in no trace.
    has_list_lane = True

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await (self._fast_lane if self.has_fast_lane else super().__call__)(scope, receive, send)

    @property
    def quick(self) -> AtOnce:
        """What a connection may ask before the application hears of a request."""
        return self._fast_lane.at_once

    @cached_property
    def _fast_lane(self) -> FastLane:
        def resources() -> Resources:
            return cast(Resources, self.state.resources)

        documented = super().__call__
        return FastLane(ListLane(documented, resources) if self.has_list_lane else documented, resources)


def utc_now() -> datetime:
    return datetime.now(UTC)


def create_app(
    settings: Settings,
    clock: Callable[[], datetime] | None = None,
    *,
    fast_lane: bool = True,
    duties_at_once: bool = True,
    routes: Sequence[BaseRoute] = (),
) -> ControlPlane:
    """The control plane on one database. `clock` is the only source of wall time; without one it is the host's.

    Without the fast lane each answer is the same. Timed duties begin with the start, or one interval later. `routes` are those of another
    application in this process, worked out already.
    """

    provider = tracing.tracer_provider()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        resources = _assemble(settings, clock or Timekeeper(utc_now))
        app.state.resources = resources
        if provider is not None:
            tracing.trace_statements(resources.database.engine.sync_engine, provider)
        try:
            await make_current(resources.database.engine, settings.effective_database_url)
            # Before anybody asks; `housekeeping` does so again and again.
            await resources.database.take_stock()
            async with (
                resources.replica.joined(),
                fastlane.writing_behind(resources),
                dispatching.running(resources),
                posting.running(resources),
                housekeeping.running(resources, at_once=duties_at_once),
                report_duties.running(resources),
                rechecks.running(resources),
            ):
                yield
        finally:
            await resources.database.close()
            if provider is not None:
                await tracing.send_the_last(provider)

    app = ControlPlane(
        title="APVISO Runners",
        version=__version__,
        summary="Control plane of self-hosted security-test runners.",
        openapi_url=None,
        telemetry=tracing.telemetry(provider),
        redirect_slashes=False,  # a redirect would be built from the caller's Host header
        middleware=[
            Middleware(RequestContext),
            Middleware(LastResort),
            Middleware(HeadAsGet),
            Middleware(Readable),
            Middleware(Door),
            Middleware(BodyLimit, settings=settings),
            Middleware(Turnstile),
            Middleware(AnotherTry),
            Middleware(EntityTags),
            Middleware(Named),
        ],
    )
    app.has_fast_lane, app.has_list_lane = fast_lane, provider is None
    problems.install(app)
    app.router.routes.extend(routes)
    for router in () if routes else ROUTERS:
        app.include_router(router)
    # Last: no router has a lifespan of its own, yet each would be put around this one.
    app.router.lifespan_context = lifespan
    return app


def _assemble(settings: Settings, clock: Callable[[], datetime]) -> Resources:
    signals = Signals()
    beats: Memory[Any, Any] = Memory()
    waiting: Waiting[Any, Any, Any] = Waiting()
    snapshots: Snapshots[Any] = Snapshots()
    keys: Believed[KnownKey] = Believed(boot_seconds)
    licenses: Believed[Any] = Believed(boot_seconds)

    def runner_changed(runner_id: str | None) -> None:
        snapshots.mark_wherever(None if runner_id is None else RunnerId(runner_id))
        if runner_id is None:
            beats.forget_everyone()
            return
        beats.forget(RunnerId(runner_id))
        waiting.runner_changed(RunnerId(runner_id))

    def jobs_changed(organization_id: str | None) -> None:
        waiting.hint_everyone() if organization_id is None else waiting.hint(OrganizationId(organization_id))

    signals.of_runners.append(runner_changed)
    signals.of_touches.append(snapshots.mark_all)
    signals.of_jobs.append(jobs_changed)
    signals.of_access += [keys.forget, licenses.forget]
    database = Database(settings.effective_database_url, clock, signals)
    roll_call = RollCall(database, settings.timers)
    return Resources(
        settings=settings,
        database=database,
        timekeeper=clock if isinstance(clock, Timekeeper) else None,
        signals=signals,
        key_throttle=Throttle(settings.requests_per_minute, time.monotonic),
        daemon_throttle=Throttle(settings.daemon_requests_per_minute, time.monotonic),
        enrollment_throttle=Throttle(settings.enrollments_per_minute, time.monotonic),
        sign_in_throttle=Throttle(settings.sign_ins_per_minute, time.monotonic),
        page_throttle=Throttle(settings.pages_per_minute, time.monotonic),
        passwords=Passwords(),
        provider=Provider(settings),
        parking=Parking(settings.max_parked_requests),
        verifying=Parking(settings.max_verifications_at_once),
        replica=Replica(settings.effective_database_url, clock, signals, settings.timers.restart_amnesty, roll_call.join),
        roll_call=roll_call,
        beats=beats,
        keys=keys,
        licenses=licenses,
        snapshots=snapshots,
        pace=Pace(settings.timers, settings.heartbeats_per_second),
        waiting=waiting,
        flushes=Flushes(),
        census=Census(database),
        typesetter=Typesetter(is_wanted=settings.pdf_reports),
        vault=open_vault([key.get_secret_value() for key in settings.webhook_keys], settings.data_dir),
    )
