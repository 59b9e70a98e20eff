"""Who may speak to the server over HTTP: whoever has its token. Stands in front of everything, and reads no body without one."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]
_REFUSAL = b'{"error":"a bearer token is needed: Authorization: Bearer <the token of this server>"}'


class Door:
    """Lets through what carries the token. It keeps the token's digest alone."""

    def __init__(self, application: Application, token: str) -> None:
        self._application = application
        self._digest = _digest(token.encode())

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or (scope["type"] == "http" and self._opens(scope["headers"])):
            await self._application(scope, receive, send)
        elif scope["type"] == "http":
            await _refuse(send)

    def _opens(self, headers: Iterable[tuple[bytes, bytes]]) -> bool:
        told = [value for name, value in headers if name == b"authorization"]
        if len(told) != 1:
            return False
        scheme, _, token = told[0].partition(b" ")
        # Digests have one length, so that the time it takes tells nothing of the token's.
        return hmac.compare_digest(_digest(token.strip()), self._digest) and scheme.lower() == b"bearer"


async def _refuse(send: Send) -> None:
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(_REFUSAL)).encode()),
        (b"www-authenticate", b"Bearer"),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": 401, "headers": headers})
    await send({"type": "http.response.body", "body": _REFUSAL})


def _digest(token: bytes) -> bytes:
    return hashlib.sha256(token).digest()
