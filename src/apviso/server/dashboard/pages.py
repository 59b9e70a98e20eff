"""All pages, by the files that make them."""

from __future__ import annotations

from apviso.server.dashboard import audit, findings, live, overview, runners, schedules, settings, sign_in, webhooks

ROUTERS = (
    sign_in.router,
    live.router,
    overview.router,
    runners.router,
    findings.router,
    schedules.router,
    webhooks.router,
    audit.router,
    settings.router,
)
