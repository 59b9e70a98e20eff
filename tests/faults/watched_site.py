"""A target that notes when it was asked and by which attempt: what really reached it, whatever anybody else says."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

from tests.faults.background import Background

PAGE = b"<title>A page</title><p>Nothing to see.</p>"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(PAGE) + PAGE
REQUEST_SECONDS = 20
SLOW_SECONDS = 1.0


@dataclass(frozen=True)
class Touch:
    """One request of a scan. `who` is the scan's process; `at` is on the monotonic clock."""

    at: float
    scan: str
    attempt: int
    who: str
    number: int


class WatchedSite:
    """`touches` in the order in which they came; requests that are no scan's, such as a runner's look before it starts, are not kept.

    The scans in `slowed` get each answer after SLOW_SECONDS, so that a test can make them long.
    """

    def __init__(self, background: Background) -> None:
        self.touches: list[Touch] = []
        self.slowed: set[str] = set()
        self._background = background
        self._server = background.run(asyncio.start_server(self._converse, "127.0.0.1", 0))
        self.port = int(self._server.sockets[0].getsockname()[1])

    def url(self, requests: int) -> str:
        """An address whose scan asks so often."""
        return f"http://127.0.0.1:{self.port}/{requests}"

    def asked(self, scan_id: str, attempt: int | None = None) -> int:
        """How often this scan, or this attempt of it, has asked."""
        return sum(touch.scan == scan_id and attempt in (None, touch.attempt) for touch in list(self.touches))

    def close(self) -> None:
        self._background.run(self._close())

    async def _close(self) -> None:
        self._server.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(REQUEST_SECONDS):
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                if self._note(head.split()[1]) in self.slowed:
                    await asyncio.sleep(SLOW_SECONDS)
                writer.write(ANSWER)
                await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            pass  # the client has left
        finally:
            writer.close()

    def _note(self, path: str) -> str | None:
        """The scan that asks."""
        said = {name: values[0] for name, values in parse_qs(urlsplit(path).query).items()}
        if "who" in said:
            self.touches.append(Touch(time.monotonic(), said["scan"], int(said["attempt"]), said["who"], int(said["number"])))
        return said.get("scan")
