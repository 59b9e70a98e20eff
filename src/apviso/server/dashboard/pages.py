"""All pages, by the files that make them."""

from __future__ import annotations

from apviso.server.dashboard import audit, live, overview, runners, settings, sign_in, webhooks

ROUTERS = (sign_in.router, live.router, overview.router, runners.router, webhooks.router, audit.router, settings.router)
