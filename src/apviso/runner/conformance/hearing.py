"""What a scan said in one trial, kept bounded: counts, the last line, a few examples of what is not understood."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from apviso.protocol.scan_events import CoverageLine
from apviso.runner.engines import Line, Spoken, Swallowed
from apviso.runner.output import parse_line
from apviso.runner.terminal import printable

_MOST_EXAMPLES = 3
_EXCERPT = 120


@dataclass
class Hearing:
    """`first_seconds` is when the first line of the contract came; `said` the coverage where the very last line is one."""

    began: float = field(default_factory=time.monotonic)
    first_seconds: float | None = None
    understood: int = 0
    strange: int = 0
    examples: list[str] = field(default_factory=list)
    said: CoverageLine | None = None
    complaint: str = ""

    def take(self, line: Line) -> None:
        match line:
            case Swallowed(size):
                self._wonder(f"a line of {size} bytes")
            case Spoken(text, error=True):
                self.complaint = excerpt(text) or self.complaint
            case Spoken(text) if text.strip():
                self._take_output(text)
            case Spoken():
                pass

    def _take_output(self, text: bytes) -> None:
        parsed = parse_line(text)
        self.said = parsed if isinstance(parsed, CoverageLine) else None
        if parsed is None:
            self._wonder(excerpt(text))
            return
        self.understood += 1
        if self.first_seconds is None:
            self.first_seconds = time.monotonic() - self.began

    def _wonder(self, example: str) -> None:
        self.said = None
        self.strange += 1
        if len(self.examples) < _MOST_EXAMPLES:
            self.examples.append(example)


def excerpt(text: bytes) -> str:
    """The beginning of what an image wrote, safe to print."""
    return printable(text[: 4 * _EXCERPT].decode(errors="replace").strip())[:_EXCERPT]
