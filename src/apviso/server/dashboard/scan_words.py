"""What becomes of scans in words: why an attempt ended, and each event of a log as one line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydantic import JsonValue

from apviso.protocol.states import EndReason
from apviso.server.dashboard.rendering import number, plain, size

LEVELS = ("debug", "info", "warning", "error")
# A line of the log that moves; the whole of it is in the paged log.
LONGEST_LINE = 1_000
ENDINGS = {
    EndReason.COMPLETED: "It ended by itself.",
    EndReason.FINDINGS_THRESHOLD: "It stopped because it had found enough.",
    EndReason.TARGET_UNREACHABLE: "The target could not be reached, or gave nothing but errors.",
    EndReason.AUTH_FAILED: "The target refused the credentials that the runner has for it.",
    EndReason.SCOPE_REFUSED: "The target lies outside the runner's own scope file.",
    EndReason.INVALID_CONFIG: "The scan could not understand its order, or a local file is not usable.",
    EndReason.PREFLIGHT_FAILED: "The checks before the scan failed.",
    EndReason.PREPARE_TIMEOUT: "The scan could not be prepared in time.",
    EndReason.IMAGE_UNAVAILABLE: "The scan image could not be fetched.",
    EndReason.IMAGE_REFUSED: "The scan image's signature or digest is not the expected one.",
    EndReason.OUT_OF_MEMORY: "The system ended the scan because memory ran out.",
    EndReason.DISK_FULL: "The runner had no room for the scan's events.",
    EndReason.SCANNER_FAILED: "The scanner broke, or ended without having looked.",
    EndReason.RUNNER_LOST: "The runner stopped renewing its lease: it was cut off, stopped or stuck.",
    EndReason.RUNNER_SHUTDOWN: "The runner was stopped while the scan ran.",
    EndReason.RUNNER_REVOKED: "The runner was revoked while the scan ran.",
    EndReason.ENGINE_UNAVAILABLE: "The engine, the guard or the scanners were not usable on that runner.",
    EndReason.RUN_TIMEOUT: "The scan did not end within its time.",
    EndReason.QUEUE_TIMEOUT: "No runner took the scan in time.",
    EndReason.CANCELED_BY_USER: "Somebody cancelled it.",
    EndReason.CANCELED_BY_POLICY: "A rule cancelled it.",
    EndReason.UPLOAD_INCOMPLETE: "The scan ended, but some of its events could not be delivered.",
    EndReason.INTERNAL_ERROR: "Something broke that should not; the runner's log has it.",
}


@dataclass(frozen=True)
class Line:
    """`at` is the time of day; `text` has nothing hidden in it."""

    seq: int
    at: str
    level: str
    text: str


def lines_of(events: Sequence[Mapping[str, JsonValue]], longest: int | None = None) -> list[Line]:
    """Every event as one line, cut to `longest` characters."""
    return [_line(event, longest) for event in events]


def _line(event: Mapping[str, JsonValue], longest: int | None) -> Line:
    level, text = _said(event)
    seq, at, text = event.get("seq"), str(event.get("at")), plain(text)
    if longest is not None and len(text) > longest:
        text = f"{text[:longest]}… ({number(len(text) - longest)} more characters in the whole log)"
    return Line(seq if isinstance(seq, int) else 0, at[11:19], level, text)


def _said(event: Mapping[str, JsonValue]) -> tuple[str, str]:
    match event:
        case {"type": "log", "level": level, "message": message}:
            return (str(level) if level in LEVELS else "info"), str(message)
        case {"type": "phase", "name": name}:
            return "info", f"Phase: {name}"
        case {"type": "progress", "percent": percent, **more}:
            return "debug", f"{percent} %" + (f", {more['requests']} requests" if more.get("requests") is not None else "")
        case {"type": "stats", "requests": requests, "refused": refused, "bytes": count, **more}:
            told = more.get("refusals")
            reasons = f" ({', '.join(f'{name}: {value}' for name, value in told.items())})" if isinstance(told, dict) and told else ""
            answered = size(count) if isinstance(count, int) else str(count)
            return "debug", f"Guard: {requests} requests let through, {refused} refused{reasons}, {answered} answered"
        case {"type": "finding", "finding": {"severity": severity, "title": title, **more}}:
            return "info", f"Finding ({severity}): {title} at {more.get('method', '')} {more.get('url', '')}".rstrip()
        case _:
            return "debug", str(event.get("type"))
