"""Who may speak to the server over HTTP: whoever has its token, in few words. It stands before everything, and keeps nothing of a body."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import json
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = Iterable[tuple[bytes, bytes]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]
# What is still on its way when a connection is closed makes many a client lose the answer, too; so a little is waited for.
DISCARDED_BYTES, DISCARDING_SECONDS = 1024 * 1024, 1.0
_UNKNOWN = "a bearer token is needed: Authorization: Bearer <the token of this server>"


class Door:
    """Lets through what carries the token and is not too long. It keeps the token's digest alone."""

    def __init__(self, application: Application, token: str, max_body_bytes: int) -> None:
        self._application = application
        self._digest = _digest(token.encode())
        self._max_body_bytes = max_body_bytes

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._application(scope, receive, send)
        elif scope["type"] == "http":
            if not self._opens(scope["headers"]):
                await _refuse(receive, send, 401, _UNKNOWN)
            elif self._is_too_long(scope["headers"]):
                await _refuse(receive, send, 413, f"a request has at most {self._max_body_bytes} bytes")
            else:
                await self._application(scope, receive, send)

    def _opens(self, headers: Headers) -> bool:
        told = [value for name, value in headers if name == b"authorization"]
        if len(told) != 1:
            return False
        scheme, _, token = told[0].partition(b" ")
        # Digests have one length, so that the time it takes tells nothing of the token's.
        return hmac.compare_digest(_digest(token.strip()), self._digest) and scheme.lower() == b"bearer"

    def _is_too_long(self, headers: Headers) -> bool:
        """By what the request says of itself; whoever says nothing is stopped while it is read."""
        return any(name == b"content-length" and value.isdigit() and int(value) > self._max_body_bytes for name, value in headers)


async def _refuse(receive: Receive, send: Send, status: int, sentence: str) -> None:
    await _discard(receive)
    content = json.dumps({"error": sentence}).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(content)).encode()),
        # More of the body may follow than was waited for, and nothing else can come after that.
        (b"connection", b"close"),
        *([(b"www-authenticate", b"Bearer")] if status == 401 else []),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": content})


async def _discard(receive: Receive) -> None:
    left = DISCARDED_BYTES
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(DISCARDING_SECONDS):
            while left > 0:
                message = await receive()
                if not message.get("more_body", False):
                    return
                left -= len(message.get("body", b""))


def _digest(token: bytes) -> bytes:
    return hashlib.sha256(token).digest()
