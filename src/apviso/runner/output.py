"""Reads what a scan says, line by line, as untrusted input: checks it, takes the secrets out, spools it. Believes no line by itself."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from pydantic import TypeAdapter, ValidationError

from apviso.protocol.scan_events import CoverageLine, Happening, Log, OutputLine, Phase, output_line
from apviso.runner.engines import Line, Spoken, Swallowed
from apviso.runner.redaction import Redactor

MOST_STRANGE_LINES = 20
STDERR_TAIL_LINES = 40
_EXCERPT = 200
_STDERR_LINE = 1000
_happening: TypeAdapter[Happening] = TypeAdapter(Happening)


def parse_line(text: bytes) -> OutputLine | None:
    """The line as the contract has it, None where it is none of it."""
    try:
        return output_line.validate_json(text)
    except ValidationError:
        return None


class ScanOutput:
    """Takes lines, gives redacted happenings to `keep`. `said` is the scan's last word on its coverage."""

    def __init__(self, redactor: Redactor, keep: Callable[[Happening], None], on_phase: Callable[[str], None]) -> None:
        self._redactor = redactor
        self._keep = keep
        self._on_phase = on_phase
        self._strange = 0
        self._complaints: deque[str] = deque(maxlen=STDERR_TAIL_LINES)
        self.said: CoverageLine | None = None

    def take(self, line: Line) -> None:
        match line:
            case Swallowed(size):
                self._warn(f"A line of {size} bytes was dropped: too long")
            case Spoken(text, error=True):
                self._complaints.append(self._redactor.text(text.decode(errors="replace"))[:_STDERR_LINE])
            case Spoken(text):
                self._take_output(text)

    def _take_output(self, text: bytes) -> None:
        if not text.strip():
            return
        match parse_line(text):
            case None:
                self._strange += 1
                if self._strange <= MOST_STRANGE_LINES:
                    self._warn("The scan wrote a line that is not understood: " + text.decode(errors="replace"), _EXCERPT)
            case CoverageLine() as said:
                self.said = CoverageLine.model_validate(self._redactor.json(said.model_dump(mode="json", by_alias=True)))
            case happening:
                clean = redacted(happening, self._redactor)
                if isinstance(clean, Phase):
                    self._on_phase(clean.name)
                self._keep(clean)

    def _warn(self, message: str, most: int = 16_000) -> None:
        clean = self._redactor.text(message.replace("\x00", "\N{REPLACEMENT CHARACTER}"))
        self._keep(Log(level="warning", message=clean[:most]))

    def end(self) -> None:
        """What can be said only at the end: how many strange lines there were, and the tail of the standard error."""
        if self._strange > MOST_STRANGE_LINES:
            self._warn(f"{self._strange - MOST_STRANGE_LINES} more lines of the scan were not understood")
        for complaint in self._complaints:
            if complaint.strip():
                self._warn(f"stderr: {complaint}", _STDERR_LINE + 10)
        self._complaints.clear()


def redacted(happening: Happening, redactor: Redactor) -> Happening:
    return _happening.validate_python(redactor.json(happening.model_dump(mode="json", by_alias=True)))
