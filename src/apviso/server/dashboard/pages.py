"""All pages, by the files that make them."""

from __future__ import annotations

from apviso.server.dashboard import findings, live, overview, runners, schedules, sign_in

ROUTERS = (sign_in.router, live.router, overview.router, runners.router, findings.router, schedules.router)
