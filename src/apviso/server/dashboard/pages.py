"""All pages, by the files that make them."""

from __future__ import annotations

from apviso.server.dashboard import enrolling, live, overview, runner_actions, runners, sign_in

# Adding a runner comes before one runner: `/runners/add` is none.
ROUTERS = (sign_in.router, live.router, overview.router, enrolling.router, runner_actions.router, runners.router)
