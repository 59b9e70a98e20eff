"""What the live stream tells before something breaks: versions that are too old, keys that end; and who is shown what."""

from __future__ import annotations

import httpx2
import pytest

from apviso.server.settings import Settings
from tests.server.stream.reading import following
from tests.support.clock import Clock
from tests.support.control_plane import Plane
from tests.support.people import Organization

EVENTS = "/api/v1/events"


class TestOldVersions:
    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        return settings.model_copy(update={"deprecated_runner_version": "1.0.0"})

    async def test_stream_tells_once_that_the_version_of_a_runner_is_too_old(
        self, acme: Organization, plane: Plane, wire: httpx2.AsyncClient
    ) -> None:
        async with following(wire, EVENTS, acme.key) as stream:
            await stream.connected()
            runner = await acme.runner("old")
            await plane.settle()
            await runner.call("POST", "/goodbye")

            told = await stream.take(4)

        assert [event.type for event in told] == ["runner.enrolled", "runner.version_deprecated", "runner.degraded", "runner.offline"]
        assert {name: told[1].data[name] for name in ("runnerId", "name", "version", "reason")} == {
            "runnerId": runner.id,
            "name": "old",
            "version": "0.1.0",
            "reason": "version_deprecated",
        }


async def test_stream_tells_administrators_once_that_a_key_ends_within_a_week(
    acme: Organization, plane: Plane, clock: Clock, wire: httpx2.AsyncClient
) -> None:
    limited = await acme.limited_to("runners:read")
    for name, day in (("short", "2026-05-06"), ("nightly", "2026-05-20"), ("later", "2027-05-20")):
        await acme.post("/api-keys", {"name": name, "scopes": ["admin"], "expiresAt": f"{day}T00:00:00Z"})
    async with following(wire, EVENTS, acme.key) as stream, following(wire, EVENTS, limited.key) as others:
        await stream.connected()
        await others.connected()
        for _ in range(11):
            clock.pass_by(days=1)
            await plane.settle()
        await acme.enrollment_token()
        await acme.runner("last")

        told = [event for event in await stream.take(2) if event.type != "readiness.changed"]
        seen = await others.next()

    assert [(event.type, event.data.get("name")) for event in told] == [("token.expiring", "nightly"), ("runner.enrolled", "last")]
    assert told[0].data["expiresAt"] == "2026-05-20T00:00:00Z"
    assert seen.type == "runner.enrolled"
