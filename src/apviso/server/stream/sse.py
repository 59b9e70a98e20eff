"""Answers with server-sent events: where a client wants to resume, and a response that holds its parking place while it is sent."""

from __future__ import annotations

from collections.abc import AsyncIterator

from fastapi.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from apviso.server.parking import Parking

# Both databases number rows with 64 bits; a larger mark was never issued.
LARGEST_MARK = 2**63 - 1


def resume_mark(last_event_id: str | None) -> int | None:
    """The number of the event that a client saw last; None for whatever no event ever carried."""
    if last_event_id is None or not last_event_id.isdecimal() or int(last_event_id) > LARGEST_MARK:
        return None
    return int(last_event_id)


class EventStream(StreamingResponse):
    """Takes its place when it is sent, not before: a client that leaves earlier would never give it back. Raises Overloaded."""

    media_type = "text/event-stream"

    def __init__(self, parking: Parking, events: AsyncIterator[str]) -> None:
        super().__init__(events)
        self._parking = parking

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["state"].get("is_head"):
            # Nobody waits for what comes: the headers are the whole answer.
            await Response(headers=dict(self.headers))(scope, receive, send)
            return
        self._parking.enter()
        scope["state"]["parked"] = True
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._parking.leave()
