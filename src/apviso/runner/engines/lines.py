"""Cuts a stream of bytes into lines within a bound: what a scan writes is untrusted, and so is its length."""

from __future__ import annotations

from apviso.runner.engines import Line, Spoken, Swallowed

MAX_LINE_BYTES = 64 * 1024
MAX_TOTAL_BYTES = 64 * 1024**2
# Each line costs time, however short it is: together these are some seconds of the runner's.
MAX_LINES = 500_000


class OutputFlood(Exception):
    """The scan wrote more than it may in all."""


class LineCutter:
    """Feed it chunks, get lines. A line above the bound is swallowed whole: a part of one may hold half a secret."""

    def __init__(
        self, *, error: bool = False, max_line: int = MAX_LINE_BYTES, max_total: int = MAX_TOTAL_BYTES, most_lines: int = MAX_LINES
    ) -> None:
        self._error = error
        self._max_line = max_line
        self._max_total = max_total
        self._most_lines = most_lines
        self._total = 0
        self._lines = 0
        self._part = b""
        self._swallowed = 0

    def feed(self, chunk: bytes) -> list[Line]:
        """The lines that this chunk completes; raises OutputFlood beyond the bounds for all output."""
        self._total += len(chunk)
        if self._total > self._max_total:
            raise OutputFlood(f"the scan wrote more than {self._max_total} bytes")
        self._lines += chunk.count(b"\n")
        if self._lines > self._most_lines:
            raise OutputFlood(f"the scan wrote more than {self._most_lines} lines")
        *whole, rest = chunk.split(b"\n")
        found = [self._complete(piece) for piece in whole]
        self._take(rest)
        return found

    def end(self) -> list[Line]:
        """What was left without a line end."""
        return [self._complete(b"")] if self._part or self._swallowed else []

    def _take(self, piece: bytes) -> None:
        if self._swallowed or len(self._part) + len(piece) > self._max_line:
            self._swallowed += len(self._part) + len(piece)
            self._part = b""
        else:
            self._part += piece

    def _complete(self, piece: bytes) -> Line:
        self._take(piece)
        line = Swallowed(self._swallowed) if self._swallowed else Spoken(self._part.removesuffix(b"\r"), self._error)
        self._part, self._swallowed = b"", 0
        return line
