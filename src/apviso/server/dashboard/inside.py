"""The public API, called within this process: the same addresses, rules, refusals and audit as for anybody who calls it from outside."""

from __future__ import annotations

import asyncio
from typing import Any, NoReturn, TypeVar

import httpx2
from fastapi import FastAPI
from starlette.types import Receive, Scope, Send

from apviso.client.answers import MAX_ANSWER_BYTES, read_answer
from apviso.client.awaiting import Awaiting
from apviso.client.calls import JSON, Answered, Call
from apviso.client.errors import Unreachable, UnreadableAnswer
from apviso.client.following import Following
from apviso.server.access import SIGNED_IN, Caller

T = TypeVar("T")


class Inside(Awaiting):
    """The client of one visitor's page. Raises what the API refuses as any client does (ApvisoError)."""

    def __init__(self, app: FastAPI, caller: Caller) -> None:
        super().__init__()
        self._app = app
        self._caller = caller

    async def perform(self, call: Call[T]) -> T:
        return read_answer(call, await self._exchange(call))

    def follow(self, following: Following) -> NoReturn:
        raise NotImplementedError("pages hear what happens from /live")

    async def _exchange(self, call: Call[Any]) -> Answered:
        headers = {"accept": JSON, "x-request-id": self._caller.request_id, **dict(call.headers)}
        if call.body is not None:
            headers["content-type"] = JSON
        request = httpx2.Request(
            call.method, f"http://inside/api/v1{call.path}", params=list(call.query) or None, content=call.body, headers=headers
        )
        transport = httpx2.ASGITransport(self._as_the_caller, raise_app_exceptions=False)
        try:
            async with asyncio.timeout(call.seconds):
                response = await transport.handle_async_request(request)
                content = await response.aread()
        except TimeoutError as error:
            raise Unreachable(f"no answer to {call.method} {call.path} in {call.seconds:.0f} s") from error
        if len(content) > MAX_ANSWER_BYTES:
            raise UnreadableAnswer(f"the answer to {call.method} {call.path} is longer than {MAX_ANSWER_BYTES} bytes")
        return Answered(response.status_code, dict(response.headers), content)

    async def _as_the_caller(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app({**scope, "state": {SIGNED_IN: self._caller}}, receive, send)
