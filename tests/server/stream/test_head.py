"""HEAD at a stream: the headers, and then the end."""

from __future__ import annotations

import asyncio

import httpx2
import pytest

from tests.server.scans.situations import queued_scan
from tests.server.stream.reading import SECONDS
from tests.support.people import Organization, Runner


@pytest.mark.parametrize("place", ["events", "log"])
async def test_head_at_a_stream_ends_after_its_headers(acme: Organization, runner: Runner, wire: httpx2.AsyncClient, place: str) -> None:
    case = await queued_scan(acme, runner)
    path = "/api/v1/events" if place == "events" else f"/api/v1/scans/{case.scan_id}/log"

    async with asyncio.timeout(SECONDS):
        answer = await wire.head(path, headers={"X-API-Key": acme.key, "Accept": "text/event-stream"})

    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["content-type"].startswith("text/event-stream")
