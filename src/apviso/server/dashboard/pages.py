"""All pages, by the files that make them."""

from __future__ import annotations

from apviso.server.dashboard import live, overview, runners, sign_in

ROUTERS = (sign_in.router, live.router, overview.router, runners.router)
