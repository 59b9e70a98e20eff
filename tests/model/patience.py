"""Calls as a machine without time needs them: what the database was too busy for is asked again, as runners and the client do.

Where the tests get next to no processor, a transaction may hold its lock for longer than PostgreSQL lets the next one wait. That is
refused, and nothing was done. One that would never let go of its lock is refused again and again, and so comes to light.
"""

from __future__ import annotations

from collections import Counter

import httpx2

# Each is a wait of LOCK_MS at least.
TRIES = 6
AGAIN = "busy: asked again"


class Patient(httpx2.AsyncBaseTransport):
    """`met` counts what was asked again."""

    def __init__(self, inner: httpx2.AsyncBaseTransport, met: Counter[str]) -> None:
        self._inner = inner
        self._met = met

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        for _ in range(TRIES - 1):
            answer = await self._inner.handle_async_request(request)
            if answer.status_code != 503 or b'"database_unavailable"' not in await answer.aread():
                return answer
            self._met[AGAIN] += 1
        return await self._inner.handle_async_request(request)
