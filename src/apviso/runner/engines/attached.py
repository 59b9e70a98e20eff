"""A scan that runs in a container, followed through the stream that the engine gives: frames in, order out, and how it ended."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack

from apviso.runner.engines import EngineFailed, Line, ScanExit
from apviso.runner.engines.api import EngineSocket
from apviso.runner.engines.lines import LineCutter, OutputFlood
from apviso.runner.records import ProcessMark

# The stream ends with the container; the engine needs a moment to write down how.
_SETTLE_SECONDS, _LOOK_SECONDS = 15.0, 0.05
_LAST_KILL_SECONDS = 3.0
_GIVE_SECONDS = 30.0
_CHUNK_BYTES = 64 * 1024
_HEADER_BYTES = 8
_ERROR_STREAM = 2


class Frames:
    """Cuts the engine's multiplexed stream: a header of stream and length, then so many bytes. Holds no frame whole."""

    def __init__(self) -> None:
        self._header = b""
        self._left = 0
        self._is_error = False

    def feed(self, chunk: bytes) -> Iterator[tuple[bool, bytes]]:
        """Pieces of output, each with whether it is standard error."""
        while chunk:
            if self._left:
                piece, chunk = chunk[: self._left], chunk[self._left :]
                self._left -= len(piece)
                yield self._is_error, piece
                continue
            missing = _HEADER_BYTES - len(self._header)
            self._header, chunk = self._header + chunk[:missing], chunk[missing:]
            if len(self._header) == _HEADER_BYTES:
                self._is_error = self._header[0] == _ERROR_STREAM
                self._left = int.from_bytes(self._header[4:], "big")
                self._header = b""


class ContainerScan:
    """`undo` takes back, in reverse order, everything that was made for the scan."""

    mark: ProcessMark | None = None

    def __init__(self, engine: EngineSocket, container: str, stream: socket.socket, take: Callable[[Line], None], most_bytes: int) -> None:
        self._engine = engine
        self._container = container
        self._stream = stream
        self._take = take
        self._cutters = {False: LineCutter(max_total=most_bytes), True: LineCutter(error=True, max_total=most_bytes)}
        self._drowning: asyncio.Task[None] | None = None
        self._was_ended = False
        self._listening = asyncio.create_task(self._listen())
        self._concluding: asyncio.Task[ScanExit] | None = None
        self.undo = AsyncExitStack()

    async def give(self, order: bytes) -> None:
        """Write the order; standard input stays open for as long as the runner lives."""
        async with asyncio.timeout(_GIVE_SECONDS):
            await asyncio.get_running_loop().sock_sendall(self._stream, order)

    def end_input(self) -> None:
        """Standard input ends, as it does when the runner dies; what the scan says is still heard."""
        with contextlib.suppress(OSError):
            self._stream.shutdown(socket.SHUT_WR)

    async def unlisten(self) -> None:
        self._listening.cancel()
        await asyncio.gather(self._listening, return_exceptions=True)

    async def _listen(self) -> None:
        loop, frames = asyncio.get_running_loop(), Frames()
        with contextlib.suppress(OSError):
            while chunk := await loop.sock_recv(self._stream, _CHUNK_BYTES):
                # Of a flood nothing more is heard, and still it is read: the engine ends no container whose output is stuck.
                if self._drowning is None:
                    self._hear(frames.feed(chunk))
                # A socket that always has more to read never gives way by itself: leases and heartbeats must have their turn.
                await asyncio.sleep(0)
        if self._drowning is not None:
            await self._drowning
            return
        for cutter in self._cutters.values():
            for line in cutter.end():
                self._take(line)

    def _hear(self, pieces: Iterator[tuple[bool, bytes]]) -> None:
        try:
            for is_error, piece in pieces:
                for line in self._cutters[is_error].feed(piece):
                    self._take(line)
        except OutputFlood:
            self._drowning = asyncio.create_task(self._stop(0))

    async def stop(self, grace_seconds: float) -> None:
        self._was_ended = True
        await self._stop(grace_seconds)
        await self.wait()

    async def _stop(self, grace_seconds: float) -> None:
        # Where the engine does not answer, the closed guard keeps the target safe and the label finds the container later.
        with contextlib.suppress(EngineFailed):
            await self._engine.stop(self._container, grace_seconds)

    def kill(self) -> None:
        if self._concluding is not None and self._concluding.done():
            return
        self._was_ended = True
        self._engine.kill_now(self._container, _LAST_KILL_SECONDS)

    async def wait(self) -> ScanExit:
        """Cancelling this leaves the scan as it is. Raises EngineFailed where the engine went away."""
        await asyncio.shield(self._listening)
        if self._concluding is None:
            self._concluding = asyncio.create_task(self._conclude())
        return await asyncio.shield(self._concluding)

    async def _conclude(self) -> ScanExit:
        try:
            async with asyncio.timeout(_SETTLE_SECONDS):
                while (state := await self._engine.state(self._container)).is_running:  # noqa: ASYNC110 - the engine tells nobody
                    await asyncio.sleep(_LOOK_SECONDS)
        except TimeoutError as error:
            raise EngineFailed("The engine cut the scan's output while the scan went on; it was ended.") from error
        finally:
            await self.undo.aclose()
        return ScanExit(state.exit_code, state.out_of_memory and state.exit_code != 0 and not self._was_ended, self._drowning is not None)
