"""`python -m benchmarks.loopback_server`: answers every request of a kept connection with the same few bytes. Prints its port."""

from __future__ import annotations

import asyncio
import json
import sys

BODY = b"<html><body>here</body></html>"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: %d\r\n\r\n%s" % (len(BODY), BODY)


class _Answering(asyncio.Protocol):
    """Requests have no body, so each ends with an empty line."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._unread = b""

    def data_received(self, data: bytes) -> None:
        *requests, self._unread = (self._unread + data).split(b"\r\n\r\n")
        self._transport.write(ANSWER * len(requests))


async def main() -> None:
    server = await asyncio.get_running_loop().create_server(_Answering, "127.0.0.1", 0)
    sys.stdout.write(json.dumps({"listening": server.sockets[0].getsockname()[1]}) + "\n")
    sys.stdout.flush()
    # Whoever started this holds its standard input open for as long as it is needed.
    await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main())
