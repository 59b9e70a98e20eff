"""What a scan says while it runs: the lines of its standard output, and the numbered events that a runner uploads."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from apviso.protocol.findings import ReportedFinding
from apviso.protocol.wire import MAX_ID_LENGTH, Facts, Instant, Text, Wire, cut_to

Percent = Annotated[float, Field(ge=0, le=100)]
Amount = Annotated[int, Field(ge=0, le=2**53)]
Sequence = Annotated[int, Field(ge=1, le=2**31 - 1)]


class Log(Wire):
    type: Literal["log"] = "log"
    level: Literal["debug", "info", "warning", "error"] = "info"
    message: Annotated[Text, Field(max_length=16_000), cut_to(16_000)]


class MissingCause(StrEnum):
    """Why a log has a gap. The last two are known to the control plane alone, and then nobody knows how much is missing."""

    SPOOL_FULL = "spool_full"
    TOO_MUCH_OUTPUT = "too_much_output"
    NOT_UNDERSTOOD = "not_understood"
    DAMAGED_ON_DISK = "damaged_on_disk"
    REFUSED = "refused"
    RUNNER_LOST = "runner_lost"
    UPLOAD_INCOMPLETE = "upload_incomplete"


class Missing(Wire):
    """What a log line stands for that is not there: so many lines or events, and why."""

    count: Annotated[int, Field(ge=1, le=2**53)]
    cause: MissingCause


class Gap(Log):
    """A log line of the runner's own in the place of what is missing. A scan cannot write one."""

    level: Literal["debug", "info", "warning", "error"] = "warning"
    missing: Missing


class Phase(Wire):
    type: Literal["phase"] = "phase"
    name: Annotated[Text, Field(min_length=1, max_length=100)]


class Progress(Wire):
    type: Literal["progress"] = "progress"
    percent: Percent
    requests: Amount | None = None


class Stats(Wire):
    """Counters of the guard: requests let through, requests refused, bytes answered; `refusals` counts each reason."""

    type: Literal["stats"] = "stats"
    requests: Amount = 0
    refused: Amount = 0
    bytes: Amount = 0
    refusals: Facts = {}


class Found(Wire):
    type: Literal["finding"] = "finding"
    finding: ReportedFinding


class Coverage(Wire):
    """Whether the scan looked at what it was meant to look at, and what kept it from doing so."""

    complete: bool
    reasons: Annotated[list[Annotated[Text, Field(max_length=500)]], Field(max_length=50)] = []


class CoverageLine(Coverage):
    """The scan's own verdict, last line of its output; a runner sends it with finish, not as an event."""

    type: Literal["coverage"] = "coverage"
    pages: Amount = 0


class FindingLook(Wire):
    """Whether a retest has looked at the place of one finding, with all that found it; if not, why. It does not say what it saw there."""

    finding_id: Annotated[Text, Field(min_length=1, max_length=MAX_ID_LENGTH)]
    complete: bool
    reason: Annotated[Text, Field(max_length=300), cut_to(300)] = ""


class LookLine(FindingLook):
    """One for each finding of a retest, before the coverage; a runner sends them with finish, not as events."""

    type: Literal["look"] = "look"


Happening = Annotated[Log | Phase | Progress | Stats | Found, Field(discriminator="type")]
OutputLine = Annotated[Log | Phase | Progress | Stats | Found | LookLine | CoverageLine, Field(discriminator="type")]
output_line: TypeAdapter[OutputLine] = TypeAdapter(OutputLine)


class _Numbered(Wire):
    seq: Sequence
    at: Instant


class LogEvent(_Numbered, Log):
    missing: Missing | None = None


class PhaseEvent(_Numbered, Phase):
    pass


class ProgressEvent(_Numbered, Progress):
    pass


class StatsEvent(_Numbered, Stats):
    pass


class FindingEvent(_Numbered, Found):
    pass


ScanEvent = Annotated[LogEvent | PhaseEvent | ProgressEvent | StatsEvent | FindingEvent, Field(discriminator="type")]
scan_event: TypeAdapter[ScanEvent] = TypeAdapter(ScanEvent)
