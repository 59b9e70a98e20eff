"""All pages, by the files that make them."""

from __future__ import annotations

from apviso.server.dashboard import live, overview, runners, scans, sign_in, targets

ROUTERS = (sign_in.router, live.router, overview.router, runners.router, targets.router, scans.router)
