"""All pages, by the files that make them."""

from __future__ import annotations

from apviso.server.dashboard import (
    audit,
    enrolling,
    findings,
    live,
    overview,
    runner_actions,
    runners,
    scans,
    schedules,
    settings,
    sign_in,
    targets,
    webhooks,
)

# Adding a runner comes before one runner: `/runners/add` is none.
RUNNERS = (enrolling.router, runner_actions.router, runners.router)
ROUTERS = (
    sign_in.router,
    live.router,
    overview.router,
    *RUNNERS,
    targets.router,
    scans.router,
    findings.router,
    schedules.router,
    webhooks.router,
    audit.router,
    settings.router,
)
