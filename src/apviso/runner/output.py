"""Reads what a scan says, line by line, as untrusted input: checks it, takes the secrets out, spools it. Believes no line by itself."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from pydantic import TypeAdapter, ValidationError

from apviso.protocol.findings import MAX_RETESTED
from apviso.protocol.scan_events import (
    CoverageLine,
    FindingLook,
    Found,
    Gap,
    Happening,
    Log,
    LookLine,
    Missing,
    MissingCause,
    OutputLine,
    Phase,
    output_line,
)
from apviso.runner.engines import Line, Spoken, Swallowed
from apviso.runner.ration import Ration
from apviso.runner.redaction import Redactor
from apviso.runner.terminal import printable

MOST_STRANGE_LINES = 20
STDERR_TAIL_LINES = 40
_EXCERPT = 200
_STDERR_LINE = 1000
# What the C library says, and with it every program that ran out of room.
_NO_ROOM = b"No space left on device"
_happening: TypeAdapter[Happening] = TypeAdapter(Happening)


def parse_line(text: bytes) -> OutputLine | None:
    """The line as the contract has it, None where it is none of it."""
    try:
        return output_line.validate_json(text)
    except ValidationError:
        return None


class ScanOutput:
    """Takes lines, gives redacted happenings to `keep`, within a ration. `said` is the scan's last word on its coverage,
    `looks` are what a retest says of its findings, by their ids.

    `ran_out_of_room` is whether it complained of a full disk, which is its own: it writes nowhere else."""

    def __init__(self, redactor: Redactor, keep: Callable[[Happening], None], on_phase: Callable[[str], None]) -> None:
        self._redactor = redactor
        self._keep = keep
        self._on_phase = on_phase
        self._strange = 0
        self._complaints: deque[bytes] = deque(maxlen=STDERR_TAIL_LINES)
        self._ration = Ration()
        self.said: CoverageLine | None = None
        self.looks: dict[str, FindingLook] = {}
        self.ran_out_of_room = False

    def take(self, line: Line) -> None:
        match line:
            case Swallowed(size):
                self._ration.unread += 1
                if self._ration.lines.takes(_EXCERPT):
                    self._say_missing(f"A line of {size} bytes was dropped: too long", 1, MissingCause.TOO_MUCH_OUTPUT)
            case Spoken(text, error=True):
                self.ran_out_of_room = self.ran_out_of_room or _NO_ROOM in text
                self._complaints.append(text)
            case Spoken(text):
                self._take_output(text)

    def _take_output(self, text: bytes) -> None:
        if not text.strip():
            return
        match parse_line(text):
            case None:
                self._strange += 1
                # What begins like an event was meant as one; all else is chatter.
                self._ration.unread += text.lstrip().startswith(b"{")
                if self._strange <= MOST_STRANGE_LINES:
                    self._warn("The scan wrote a line that is not understood: " + text.decode(errors="replace"), _EXCERPT)
            case CoverageLine() as said:
                self.said = CoverageLine.model_validate(self._redactor.json(said.model_dump(mode="json", by_alias=True)))
            case LookLine() as look:
                self._note_look(FindingLook.model_validate(self._redactor.json(look.model_dump(mode="json", by_alias=True))))
            case Found() as found:
                if self._ration.findings.takes(len(text)):
                    self._keep(redacted(_in_one_line(found), self._redactor))
            case happening if self._ration.lines.takes(len(text)):
                clean = redacted(happening, self._redactor)
                if isinstance(clean, Phase):
                    self._on_phase(clean.name)
                self._keep(clean)

    def _note_look(self, look: FindingLook) -> None:
        if len(self.looks) < MAX_RETESTED:
            self.looks[look.finding_id] = look
        else:
            self._ration.unread += 1

    def _warn(self, message: str, most: int = 16_000) -> None:
        if self._ration.lines.takes(len(message)):
            self._say(message, most)

    def _say(self, message: str, most: int = 16_000) -> None:
        clean = self._redactor.text(message.replace("\x00", "\N{REPLACEMENT CHARACTER}"))
        self._keep(Log(level="warning", message=clean[:most]))

    def _say_missing(self, message: str, count: int, cause: MissingCause) -> None:
        self._keep(Gap(message=message, missing=Missing(count=count, cause=cause)))

    @property
    def losses(self) -> list[str]:
        """What was said and is missing all the same, as reasons of a coverage."""
        return self._ration.losses()

    def end(self) -> None:
        """What can be said only at the end: how many strange lines there were, and the tail of the standard error."""
        if self._strange > MOST_STRANGE_LINES:
            more = self._strange - MOST_STRANGE_LINES
            self._say_missing(f"{more} more lines of the scan were not understood", more, MissingCause.NOT_UNDERSTOOD)
        if self._ration.lines.left_out:
            more = self._ration.lines.left_out
            self._say_missing(f"{more} log lines are left out: the scan wrote more than is kept", more, MissingCause.TOO_MUCH_OUTPUT)
        for complaint in (text.decode(errors="replace") for text in self._complaints):
            if complaint.strip():
                self._say(f"stderr: {complaint}", _STDERR_LINE + 10)
        self._complaints.clear()


def _in_one_line(found: Found) -> Found:
    """The finding with nothing in its short fields that a terminal or a list would take for more than text."""
    finding = found.finding
    shown = {"title": printable(finding.title)[:300], "url": printable(finding.url)[:4000], "method": printable(finding.method)[:500]}
    if finding.parameter is not None:
        shown["parameter"] = printable(finding.parameter)[:500]
    return found.model_copy(update={"finding": finding.model_copy(update=shown)})


def redacted(happening: Happening, redactor: Redactor) -> Happening:
    return _happening.validate_python(redactor.json(happening.model_dump(mode="json", by_alias=True)))
