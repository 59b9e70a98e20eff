"""All pages, by the files that make them."""

from __future__ import annotations

from apviso.server.dashboard import audit, enrolling, live, overview, runner_actions, runners, settings, sign_in, webhooks

# Adding a runner comes before one runner: `/runners/add` is none.
RUNNERS = (enrolling.router, runner_actions.router, runners.router)
ROUTERS = (sign_in.router, live.router, overview.router, *RUNNERS, webhooks.router, audit.router, settings.router)
