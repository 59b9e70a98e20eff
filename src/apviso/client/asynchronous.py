"""The client that is awaited. What is said and how it is read is decided elsewhere; here it is sent and waited for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from pathlib import Path
from time import monotonic
from typing import Any, Self, TypeVar

import httpx2

from apviso.client.answers import Collecting, read_answer, refusal
from apviso.client.awaiting import Awaiting
from apviso.client.calls import Answered, Call
from apviso.client.connection import CANNOT_OPEN, LOST, Connection, bad_proxy
from apviso.client.errors import ApvisoError
from apviso.client.following import Following
from apviso.client.repeating import patience_for

T = TypeVar("T")


class AsyncClient(Awaiting):
    """Use it as a context. What is not given comes from the environment; HTTPS_PROXY and NO_PROXY apply. Raises BadSettings."""

    def __init__(self, api_url: str | None = None, api_key: str | None = None, *, custom_ca: Path | str | None = None) -> None:
        self._connection = Connection.of(api_url, api_key, custom_ca)
        words = self._connection.words()
        try:
            self._http = httpx2.AsyncClient(**words)
        except CANNOT_OPEN as error:
            raise bad_proxy() from error
        super().__init__()

    @property
    def api_url(self) -> str:
        return self._connection.api_url

    def __repr__(self) -> str:
        return f"AsyncClient({self._connection.api_url!r}, {str(self._connection.api_key)!r})"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *how: object) -> None:
        await self.close()

    async def close(self) -> None:
        await self._http.aclose()

    async def perform(self, call: Call[T]) -> T:
        patience = patience_for(call)
        while True:
            try:
                return read_answer(call, await self._exchange(call))
            except ApvisoError as error:
                delay = patience.delay_after(error)
                if delay is None:
                    raise
            await asyncio.sleep(delay)

    async def follow(self, following: Following) -> AsyncIterator[dict[str, Any]]:
        while not following.has_ended:
            try:
                # Whoever stops listening closes the connection at once.
                async with aclosing(self._stream(following)) as events:
                    async for event in events:
                        yield event
                error: ApvisoError = following.cut_off()
            except ApvisoError as failure:
                error = failure
            if not following.has_ended:
                delay = following.delay_after(error)
                if delay is None:
                    raise error
                await asyncio.sleep(delay)

    async def _stream(self, following: Following) -> AsyncGenerator[dict[str, Any]]:
        call = following.call()
        try:
            async with self._http.stream(**self._connection.request(call)) as response:
                if response.status_code != 200:
                    raise refusal(await self._collect(call, response))
                async for line in response.aiter_lines():
                    event = following.read(line)
                    if event is not None:
                        yield event
        except LOST as error:
            raise self._connection.unreachable(error) from error

    async def _exchange(self, call: Call[Any]) -> Answered:
        try:
            async with self._http.stream(**self._connection.request(call)) as response:
                return await self._collect(call, response)
        except LOST as error:
            raise self._connection.unreachable(error) from error

    async def _collect(self, call: Call[Any], response: httpx2.Response) -> Answered:
        collecting = Collecting(call, monotonic() + call.seconds)
        async for part in response.aiter_bytes():
            collecting.add(part, monotonic())
        return Answered(response.status_code, dict(response.headers), collecting.whole())
