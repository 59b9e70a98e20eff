"""All pages, by the files that make them."""

from __future__ import annotations

from apviso.server.dashboard import audit, live, overview, runners, scans, settings, sign_in, targets, webhooks

ROUTERS = (
    sign_in.router,
    live.router,
    overview.router,
    runners.router,
    targets.router,
    scans.router,
    webhooks.router,
    audit.router,
    settings.router,
)
