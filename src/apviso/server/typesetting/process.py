"""Runs the typesetter: few at a time, each with a time-out, none after the end. What it is given is data to it, never markup."""

from __future__ import annotations

import asyncio
import importlib.util
import sys
from asyncio.subprocess import PIPE, Process

import structlog

from apviso.server.errors import Overloaded

log = structlog.get_logger("apviso.typesetting")
# One fills a core; the server has other things to do.
AT_ONCE = 1
# Whoever comes when so many are inside is asked to come again.
MOST_INSIDE = 8
# A long report takes a few seconds.
SECONDS = 25.0
RETRY_AFTER = 5.0
_PROGRAM = ("-I", "-m", "apviso.server.typesetting")


class TypesettingFailed(Exception):
    """The process gave no PDF; its log says why."""


class Typesetter:
    """Counts who is inside, and can end all of them."""

    def __init__(self, *, is_wanted: bool) -> None:
        self._is_wanted = is_wanted
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._inside = 0
        self._running: set[Process] = set()
        self._is_closed = False

    @property
    def why_not(self) -> str | None:
        """What keeps this server from making PDF files; None where nothing does."""
        if not self._is_wanted:
            return "PDF reports are switched off on this server (APVISO_PDF_REPORTS)."
        if importlib.util.find_spec("typst") is None:
            return "This server lacks the extra `pdf`: install it with pip install 'apviso[pdf]' and restart the server."
        return None

    async def typeset(self, document: bytes) -> bytes:
        """The PDF of a report that is given as JSON. Raises TypesettingFailed, and Overloaded where too many wait."""
        if self._inside >= MOST_INSIDE:
            raise Overloaded("Too many PDF reports are being made; try again soon.", retry_after=RETRY_AFTER)
        self._inside += 1
        try:
            async with self._turns:
                return await self._run(document)
        finally:
            self._inside -= 1

    async def _run(self, document: bytes) -> bytes:
        if self._is_closed:
            raise TypesettingFailed("the server is about to end")
        # None of the server's environment: nothing in there is of use to it.
        process = await asyncio.create_subprocess_exec(sys.executable, *_PROGRAM, stdin=PIPE, stdout=PIPE, stderr=PIPE, env={})
        self._running.add(process)
        try:
            async with asyncio.timeout(SECONDS):
                made, complaint = await process.communicate(document)
        except TimeoutError as error:
            raise TypesettingFailed(f"no PDF within {SECONDS:g} s") from error
        finally:
            self._running.discard(process)
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode != 0 or not made.startswith(b"%PDF-"):
            log.warning("typesetter failed", exit_code=process.returncode, complaint=complaint[-500:].decode(errors="replace"))
            raise TypesettingFailed(f"the typesetter ended with {process.returncode}")
        return made

    def close(self) -> None:
        """End what runs; whoever waits is told at once."""
        self._is_closed = True
        for process in self._running:
            if process.returncode is None:
                process.kill()
