"""The first page: whether scans can start, what needs attention, and how it was lately."""

from __future__ import annotations

from tests.server.scans.situations import Case, found, queued_scan
from tests.support.clock import Clock
from tests.support.control_plane import Plane
from tests.support.people import Organization, Runner
from tests.support.visitors import Visitor


async def test_overview_tells_readiness_and_what_needs_attention(
    acme: Organization, runner: Runner, owner: Visitor, viewer: Visitor, clock: Clock, plane: Plane
) -> None:
    calm = (await owner.get("/")).text
    case: Case = await queued_scan(acme, runner)
    (await runner.on_job(await case.running(), "events", events=[found(1, "Leak of <b>all</b>", severity="critical")])).raise_for_status()
    await acme.post("/schedules", {"targetId": case.target["id"], "frequency": "daily", "hour": 10, "whenUnavailable": "reject"})
    await acme.scan((await acme.target("localhost:9"))["id"])
    await acme.post("/api-keys", {"name": "ci key", "scopes": ["scans:read"], "expiresAt": "2026-05-10T00:00:00Z"})
    clock.pass_by(hours=1)
    await plane.settle()

    busy, looked_at = (await owner.get("/")).text, (await viewer.get("/")).text

    assert "1 of 1 runners online, 1 free slot." in calm
    assert "Nothing needs attention." in calm
    assert "No runner is online: runner-1" in busy
    order = ("Leak of &lt;b&gt;all&lt;/b&gt;", "Cannot start: No runner is online", 'id="row-runner-', "ci key")
    places = [busy.index(words) for words in order]
    assert places == sorted(places)
    assert 'id="row-schedule-' in busy
    assert "<code>apviso run</code>" in busy
    assert "New findings on each of the last 30 days: 1 in all" in busy
    assert "at most 1 in use, at most 2 waiting" in busy
    assert "ci key" not in looked_at
