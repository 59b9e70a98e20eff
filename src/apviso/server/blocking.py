"""Reads that may be held open (`?wait=`): the answer comes when what it shows has changed, or when the time is up. Holds no transaction."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Header, Query, Request
from fastapi.responses import Response

from apviso.protocol.wire import Wire
from apviso.server.access import Caller, is_still_valid
from apviso.server.db.engine import Work
from apviso.server.errors import CredentialInvalid
from apviso.server.resources import Plant, Resources

MAX_WAIT_SECONDS = 60
# A hint can be lost, and some of what is shown changes by time alone.
POLL_SECONDS = 2.0


@dataclass(frozen=True)
class Shown:
    """What a read shows now. `state` is what a client waits for that names no tag; nothing is waited for once that is `settled`."""

    answer: Wire
    state: str
    is_settled: bool = False


Look = Callable[[Work], Awaitable[Shown]]


@dataclass(frozen=True)
class Held:
    """One read, and for how long it may be held. `known` are the tags that the client has."""

    request: Request
    plant: Resources
    seconds: float
    known: frozenset[str]

    async def read(self, caller: Caller, look: Look, *topics: str) -> Response:
        """The first answer that is news to the client, or the last one within its time. Raises Overloaded."""
        # Whoever asks for the head alone waits for nothing.
        if self.seconds <= 0 or self.request.scope["state"].get("is_head"):
            return _response(*_tagged(await self._look(caller, look)))
        # Before the first look: what changes after it is hinted at.
        with self.plant.signals.listening(*topics) as listener:
            deadline = asyncio.get_running_loop().time() + self.seconds
            shown = first = await self._look(caller, look)
            body, tag = _tagged(first)
            if self._is_news(first, first, tag):
                return _response(body, tag)
            self.plant.parking.enter()
            try:
                self.request.state.parked = True
                self.request.state.step_out()
                while not (self._is_news(first, shown, tag) or self.plant.signals.is_closed):
                    left = deadline - asyncio.get_running_loop().time()
                    if left <= 0 or await self.request.is_disconnected():
                        break
                    await listener.wait(min(left, POLL_SECONDS))
                    shown = await self._look(caller, look)
                    body, tag = _tagged(shown)
            finally:
                self.plant.parking.leave()
        return _response(body, tag)

    def _is_news(self, first: Shown, now: Shown, tag: str) -> bool:
        if self.known:
            return tag not in self.known
        return now.is_settled or now.state != first.state

    async def _look(self, caller: Caller, look: Look) -> Shown:
        async with self.plant.database.reading() as work:
            if not await is_still_valid(work, caller):
                raise CredentialInvalid
            return await look(work)


def _tagged(shown: Shown) -> tuple[bytes, str]:
    body = shown.answer.model_dump_json(by_alias=True).encode()
    return body, f'"{hashlib.sha256(body).hexdigest()[:32]}"'


def _response(body: bytes, tag: str) -> Response:
    """With its tag, by which the layer of entity tags answers 304."""
    return Response(body, media_type="application/json", headers={"etag": tag})


async def _held(
    request: Request,
    plant: Plant,
    wait: Annotated[
        float,
        Query(
            ge=0,
            le=MAX_WAIT_SECONDS,
            description="Seconds to hold the read open: until it differs from If-None-Match, or without that until the status changes.",
        ),
    ] = 0,
    if_none_match: Annotated[str, Header(alias="If-None-Match", include_in_schema=False)] = "",
) -> Held:
    known = frozenset(tag.strip().removeprefix("W/") for tag in if_none_match.split(",") if tag.strip())
    return Held(request, plant, wait, known)


HeldOpen = Annotated[Held, Depends(_held)]
