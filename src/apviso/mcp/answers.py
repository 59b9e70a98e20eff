"""What tools answer: the models of the API, bounded and quoted. Where they are too long for an assistant, shapes of their own."""

from __future__ import annotations

from typing import TypeVar

from pydantic import BaseModel, JsonValue

from apviso.mcp.quoting import Marks, cleaned, shown
from apviso.protocol.findings import FindingCounts
from apviso.protocol.readiness import Readiness
from apviso.protocol.runners import Runner, RunnerList
from apviso.protocol.wire import ScanId, Wire

M = TypeVar("M", bound=BaseModel)
LIST_TEXT, WHOLE_TEXT, REPORT_PART = 300, 8_000, 30_000
MAX_RUNNERS_SHOWN = 50
# Members whose texts the control plane writes or has checked. Every other text of a finding or a log is the site's.
_OWN = frozenset(
    {
        "findings", "finding", "events", "id", "scanId", "targetId", "fingerprint", "severity", "cvssVector", "userStatus", "firstSeenAt",
        "lastSeenAt", "acceptedUntil", "nextCursor", "type", "at", "level", "history", "actor", "cause", "from", "to", "until", "results",
        "counts", "findingId", "outcome",
    }
)  # fmt: skip
# Members of scans and targets that a runner or a look for proof may have filled with what a site has said.
_FOREIGN = frozenset({"statusReason", "reasons", "phase", "verificationError"})


class ReportPart(Wire):
    """A part of a report in Markdown. `nextOffset` is null at its end."""

    scan_id: ScanId
    finding_counts: FindingCounts
    markdown: str
    offset: int
    next_offset: int | None
    total_characters: int


class LogTail(Wire):
    """The last events of a scan's current attempt. `isWhole` is false where earlier ones are left out; after `lastSeq` more may follow."""

    attempt: int
    events: list[dict[str, JsonValue]]
    last_seq: int
    is_whole: bool


def quoting_all(told: M, marks: Marks, most: int = WHOLE_TEXT) -> M:
    """For what consists of texts of a site: findings and logs."""
    return shown(told, marks, lambda name: name not in _OWN, most)


def quoting_some(told: M, marks: Marks, most: int = WHOLE_TEXT) -> M:
    return shown(told, marks, _FOREIGN.__contains__, most)


def with_few_runners(readiness: Readiness) -> Readiness:
    return readiness.model_copy(update={"runners": readiness.runners[:MAX_RUNNERS_SHOWN]})


def short_runners(told: RunnerList) -> RunnerList:
    """Without the facts that one runner alone shows."""
    return told.model_copy(update={"runners": [_short(one) for one in told.runners], "readiness": with_few_runners(told.readiness)})


def _short(runner: Runner) -> Runner:
    return runner.model_copy(update={"provider_state": {}, "capabilities": {}, "health": {}})


def report_part(scan_id: ScanId, counts: FindingCounts, text: str, offset: int, marks: Marks) -> ReportPart:
    """The report quotes the site in many places, so the whole of it stands between marks."""
    part = text[offset : offset + REPORT_PART]
    end = offset + len(part)
    return ReportPart(
        scan_id=scan_id,
        finding_counts=counts,
        markdown=marks.around(cleaned(part)),
        offset=offset,
        next_offset=end if end < len(text) else None,
        total_characters=len(text),
    )
