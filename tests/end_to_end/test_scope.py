"""The local scope to the end of the chain: what a person at the API sees of a refusal, and that nobody there can lift it."""

from __future__ import annotations

import pytest

from tests.end_to_end.installation import Installation, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
SCOPE = 'hosts = ["only.internal"]\nmethods = ["GET"]\n'


def test_scan_outside_the_local_scope_is_refused_whatever_is_asked_at_the_api(installation: Installation) -> None:
    workspace = installation.enroll("north")
    (workspace / "scope.toml").write_text(SCOPE)
    installation.start_runner("north", workspace)
    wait_for(lambda: installation.call("GET", "/runners")["runners"][0]["acceptingJobs"], 60, "the runner accepts")
    target = installation.add_target(installation.open_shop())
    (runner,) = installation.call("GET", "/runners")["runners"]

    first = installation.wait_for_end(installation.start_scan(target))
    everything = {"hosts": ["*"], "cidrs": ["0.0.0.0/0"], "methods": ["GET", "POST"]}
    installation.call("PATCH", f"/runners/{runner['id']}", {"labels": ["open"], "scope": everything, "capabilities": {"scope": everything}})
    installation.call("PATCH", f"/targets/{target}", {"displayUrl": "http://only.internal/", "scope": everything})
    second = installation.wait_for_end(installation.start_scan(target, scope=everything, limits=everything, methods=["GET", "POST"]))

    for ended in (first, second):
        assert (ended["status"], ended["endReason"]) == ("preflight_failed", "preflight_failed"), ended
        assert ended["statusReason"].startswith("scope_refused: 127.0.0.1:")
        assert ended["statusReason"].endswith("is not in the scope file")
        assert (ended["startedAt"], ended["progress"]["requests"]) == (None, 0)
    assert (workspace / "scope.toml").read_text() == SCOPE
